"""Settings of every test run, made before numpy is imported."""

import os

# Small matrices: more BLAS threads only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
