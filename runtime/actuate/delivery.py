"""What became of a set-point on its way to a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Delivery:
    """Without a problem it is in force. `arrived`: the device took it, though it may hold something else."""

    problem: str = ""
    arrived: bool = True
    answered: bool = True
    """The device was written to, or said that it will not be: this counts as a write. False where nothing came back."""

    def of(self, link: str) -> Delivery:
        """The same, with the link that the problem is of."""
        return Delivery(f"{link}: {self.problem}", self.arrived, self.answered) if self.problem else self


IN_FORCE = Delivery()


def unsent(problem: str) -> Delivery:
    """Nothing went out, or nobody knows of it."""
    return Delivery(problem, arrived=False, answered=False)
