"""What a battery's controllers are worth: regimes of prices and charges, real homes, months that taught nothing."""
