"""Data -> theta: identification, policies with sensitivities, critics, learning methods, evaluation and report."""
