"""A learner for small systems: exploring episodes make one batch of arrays, to all of which a critic is fitted."""
