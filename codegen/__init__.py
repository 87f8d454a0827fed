"""Problem + theta -> controller bundle: the acados toolchain, C generation, compilers and the certificate."""
