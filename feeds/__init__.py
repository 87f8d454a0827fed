"""Prices, weather, sun and load: from where they come to where the daemon reads them, in a process of its own."""
