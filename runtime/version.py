"""The version of nisse: the one place that says it; the wheel's metadata is made from here."""

VERSION = "0.1.0"
DISTRIBUTION = "nisse-mpc"
"""What pip calls it. Command and imports are `nisse`; under that name the package index has somebody else's package."""
