"""The sub-commands of `nisse` that belong to the feeds."""
