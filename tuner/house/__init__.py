"""Tuning the house MPC for decisions, and the smart-home experiment of the literature."""
