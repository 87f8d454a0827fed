"""Devices by name: profiles, which are data, and what of them a site file uses."""
