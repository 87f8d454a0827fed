"""The page of the running house: a process of its own that shows what the daemon says and passes on wishes."""
