"""The experiments of the literature, each reproducible by one command."""
