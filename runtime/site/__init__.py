"""The site file: read, checked, written by questions; and what a machine needs to run it."""
