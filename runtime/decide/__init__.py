"""From what is known to what is done: estimate, solve, gate, rules, safety filter, pulses."""
