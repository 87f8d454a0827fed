"""The protocol of four heat pumps, run, recorded and drawn."""
