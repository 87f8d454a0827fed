"""The experiments of the literature: tabulated problems, conditions for optimal decisions, regulators, protocols."""
