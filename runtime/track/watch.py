"""Whether the meter answers the battery: a loop on a meter with the wrong sign runs away, and is off within three
readings.

Each move of the batteries by dp is an experiment: a meter that sees it shows dg = dp, and what the house does besides
is noise. dg = -dp, twice and by a kilowatt in sum, is a wrong sign: a house would have to draw ever more just when the
battery gives ever more. The same number to the last digit, four times while the battery is moved, is a meter that
stands still. A dg that is merely small says nothing: it is what a cloud looks like that the battery keeps up with.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MOVE_KW = 0.15
"""A smaller move says nothing."""
PLAIN_KW = 2.0
"""A move by so much is believed alone, where the answer is as large and the wrong way round."""
SURE_KW = 1.0
"""Moves that were answered the wrong way round, together."""
FROZEN_KW = 0.3
"""Moves together, while the meter showed one number."""
WRONG_SIGN = "the meter goes up when the battery is told to bring it down: its sign, or that of the set-point, is wrong"
FROZEN = "the meter shows the same number whatever the battery is told"
FEW = 3


@dataclass(frozen=True)
class MeterAnswer:
    """By how much the batteries were moved together, and by how much the meter changed after it, kW."""

    moved_kw: float
    changed_kw: float

    @property
    def ratio(self) -> float:
        return self.changed_kw / self.moved_kw


class AnswerWatch:
    """Told of every reading that a move could have changed."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None
        self._answers: deque[MeterAnswer] = deque(maxlen=FEW)
        self._same, self._moved_kw = 0, 0.0

    def heard(self, meter_kw: float, told_kw: float) -> str:
        """A reading under what the batteries are told together; what is wrong, or an empty string."""
        before, self._before = self._before, (meter_kw, told_kw)
        if before is None:
            return ""
        answer = MeterAnswer(told_kw - before[1], meter_kw - before[0])
        if answer.changed_kw != 0.0:
            self._same, self._moved_kw = 0, 0.0
        elif answer.moved_kw != 0.0 and self._moved_kw == 0.0:
            self._same, self._moved_kw = 1, abs(answer.moved_kw)
        else:
            self._same, self._moved_kw = self._same + 1, self._moved_kw + abs(answer.moved_kw)
        if self._same >= FEW and self._moved_kw >= FROZEN_KW:
            return FROZEN
        if abs(answer.moved_kw) < MOVE_KW:
            return ""
        self._answers.append(answer)
        return verdict(tuple(self._answers))

    def still(self, meter_kw: float) -> bool:
        """Whether this is the number of the reading before, to the last digit."""
        return self._before is not None and self._before[0] == meter_kw

    def forget(self) -> None:
        """Begin anew: nothing that was heard says anything of what comes."""
        self._before, self._same, self._moved_kw = None, 0, 0.0
        self._answers.clear()


def verdict(answers: tuple[MeterAnswer, ...]) -> str:
    """What the last answers say, the newest last; an empty string where all may be well."""
    if not answers:
        return ""
    newest = answers[-1]
    if abs(newest.moved_kw) >= PLAIN_KW and -1.25 < newest.ratio < -0.75:
        return WRONG_SIGN
    wrong = [a for a in answers if -1.5 < a.ratio < -0.5]
    right = [a for a in answers if a.ratio >= 0.5]
    if len(wrong) >= 2 and not right and sum(abs(a.moved_kw) for a in wrong) >= SURE_KW:
        return WRONG_SIGN
    return ""
