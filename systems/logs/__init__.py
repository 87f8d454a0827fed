"""Logs of a house as its assets learn from them: columns on the grid, what cannot be true, and what was learned."""
