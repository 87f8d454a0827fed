"""What currencies are worth, roughly: for bounds on prices, and for prices that are generated in EUR."""

UNITS_PER_EUR = {
    "EUR": 1.0, "GBP": 1.0, "CHF": 1.0, "USD": 1.2, "PLN": 4.5, "DKK": 7.5, "NOK": 12.0, "SEK": 12.0, "CZK": 25.0,
}  # fmt: skip
"""Rounded up; what is not here may be worth as little as a forint."""
SMALLEST_MONEY = 400.0


def most_per_eur(currency: str) -> float:
    """How many units a EUR costs at most."""
    return UNITS_PER_EUR.get(currency, SMALLEST_MONEY)


def usual_per_eur(currency: str) -> float:
    """How many units a EUR is taken for where prices are made up."""
    return UNITS_PER_EUR.get(currency, 1.0)
