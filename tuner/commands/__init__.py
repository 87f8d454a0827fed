"""Sub-commands of `nisse` that the tuner offers."""
