"""Settings of every test run, made before numpy is imported."""

import os

import hypothesis

# Small matrices: more BLAS threads only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A run says the same as the last one, however busy the machine; to look for more: --hypothesis-profile=searching
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.register_profile("searching", deadline=None)
hypothesis.settings.load_profile("steady")
