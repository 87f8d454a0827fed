"""Ways to a model from the same data: by likelihood, by value, by decision; and many forecasts in the place of one."""
