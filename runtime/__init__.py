"""The daemon that executes a controller bundle: bundle -> actuation. Owns the bundle format and the C ABI."""
