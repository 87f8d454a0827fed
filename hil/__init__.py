"""The bench: the real daemon against a simulated plant over real links, with clocks, faults and verdicts."""
