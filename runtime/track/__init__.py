"""Between cycles: batteries follow the meter within what the plan's decision allows."""
