"""The result of a tuning run as one page that needs no other file."""
