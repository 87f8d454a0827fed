"""One module for each service: what is asked, and how its answer is read."""
