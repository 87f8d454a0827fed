"""What the daemon says to people and programs, and what they may tell it."""
