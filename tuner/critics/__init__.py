"""The critics that can be chosen, by name: `tuner.learn.critic` is the first of them."""

CRITICS = ("lstdq", "two-layer")
