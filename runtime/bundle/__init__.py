"""The controller bundle: its format, its signature, the daemon's copies of it, and how one follows another."""
