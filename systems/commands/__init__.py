"""The sub-commands of houses."""
