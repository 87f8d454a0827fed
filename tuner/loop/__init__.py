"""A described house in closed loop: what a controller sees of its plant, what it decides, and what that costs."""
