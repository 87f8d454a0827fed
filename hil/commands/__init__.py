"""Sub-commands of the bench."""
