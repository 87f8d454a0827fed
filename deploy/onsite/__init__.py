"""What runs on the machine of the house: standard library only, sent along with every request, installed nowhere."""
