"""What policies cost in closed loop, on periods that no tuning has seen, and whether a difference is real."""
