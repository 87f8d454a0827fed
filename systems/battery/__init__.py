"""A home battery behind the meter with a dynamic tariff, and the scalar battery of the literature."""
