"""From actions to set-points in devices, within their budgets, and safe at the end."""
