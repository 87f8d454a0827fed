"""Sub-commands of deploy."""
