"""Systems that can be tuned: what the trainer needs to know of each."""
