"""What is kept on the disk: the log of transitions, through every trouble of the disk."""
