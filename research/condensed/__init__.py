"""The condensed house MPC in C: matrices once per theta, then batches of solves and closed loops over threads."""
