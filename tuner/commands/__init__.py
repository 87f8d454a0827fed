"""The tuner's sub-commands."""
