"""What is controlled: one sub-package per system, each with the MPC's view (problem) and the world's (plant)."""
