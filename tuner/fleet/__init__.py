"""Many houses at once: a task each, on the processes of this machine or the workers of a cluster."""
