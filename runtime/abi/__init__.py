"""The C ABI of a controller and its ctypes binding."""
