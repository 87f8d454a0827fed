"""What a battery can earn at best: dynamic programming on its plant, with the future known and without."""
