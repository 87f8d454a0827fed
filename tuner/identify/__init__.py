"""Models from logs: one module per system, each fits what the MPC of that system can use."""
