"""The Modbus devices of one line, serial or TCP. Reads and writes happen in the worker's thread, not in the cycle's.

A line has one worker, however many devices share it: one that is silent is left alone for a while, and the others go
on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from runtime.actuate.delivery import IN_FORCE, Delivery
from runtime.clock import Clock
from runtime.formats.literals import NoValueError
from runtime.inputs.signals import Arrival
from runtime.links.last_good import LastGood
from runtime.links.modbus_blocks import RegisterSpan, joined, owner, scale_span, spans_of, value_span
from runtime.links.modbus_line import ModbusLine
from runtime.links.registers import decode, encode, exponent, is_blank
from runtime.links.sunspec import models_of, placed
from runtime.links.worker import BACKOFF_FIRST_S, BACKOFF_LAST_S, LATE, DeviceError, DeviceRefusedError, Worker
from runtime.site.register import ModbusSection, Register, SerialSection


@dataclass(frozen=True)
class Telling:
    """A register and what it shall hold."""

    register: Register
    value: float
    readback: bool = True
    """Read it back afterwards: only what is still there is in force."""
    within: float | None = None
    """How far what is read back may be from `value`, beside the register's own resolution."""


@dataclass
class _Health:
    """Of one device among several on a line."""

    problem: str = ""
    session: int = 0
    retry_s: float = float("-inf")
    backoff_s: float = 0.0


@dataclass(frozen=True)
class _ReadBack:
    told: Telling
    words: Sequence[int]
    """What was written."""
    found: Sequence[int]
    power: int
    """The exponent of its scale-factor register."""


@dataclass
class _Told:
    """What became of one write, as far as it got."""

    begun: bool = False
    refused: bool = False
    written: bool = False
    checked: bool = False
    problem: str = ""
    found: list[_ReadBack] = field(default_factory=list)


class ModbusLink:
    """One line. `read` and `write` are called by the cycle's thread only."""

    def __init__(
        self,
        name: str,
        section: SerialSection | ModbusSection,
        clock: Clock,
        *,
        deadline_s: float | None,
        devices: Collection[int] = (),
    ) -> None:
        """deadline_s: how long the cycle waits for a job; None waits until it is done (lockstep).

        devices: the ids of all that the site asks or tells on this line.
        """
        self.name = name
        self._clock = clock
        self._line = ModbusLine(section)
        self._worker = Worker(name, self._line, clock, deadline_s=deadline_s)
        self._arrivals = LastGood()
        self._devices = {device: _Health() for device in {section.device_id, *devices}}
        self._apart: set[RegisterSpan] = set()
        """Blocks that a device refused: some do not let registers be read together."""
        self._settings: dict[tuple[int, int], Sequence[int]] = {}
        self._models: dict[int, Mapping[int, int]] = {}

    @property
    def problem(self) -> str:
        """Empty while every device answers."""
        silent = (health.problem for health in self._devices.values() if health.problem)
        return self._worker.problem or next(silent, "")

    def session_of(self, register: Register) -> int:
        """Changes when the device of a register may have forgotten what it was told."""
        return self._worker.session + self._devices[owner(register, self._line.device_id)].session

    def read(self, registers: Mapping[str, Sequence[Register]]) -> dict[str, Arrival]:
        """Read all values, each the sum of its registers; one that could not be read keeps its last value and age."""
        return self.begin(registers)()

    def begin(self, registers: Mapping[str, Sequence[Register]]) -> Callable[[], dict[str, Arrival]]:
        """Ask for all values; what then waits for them."""
        own = self._line.device_id
        asked: dict[int, dict[str, Sequence[Register]]] = {}
        for name, terms in registers.items():
            asked.setdefault(owner(terms[0], own), {})[name] = terms

        def job() -> None:
            for device, mine in asked.items():
                self._of_device(device, partial(self._take, mine), mine)

        ended = self._worker.begin(job)
        return lambda: self._arrivals.take(registers, ended(), self._clock.monotonic())

    def write(self, *tellings: Telling, timeout: tuple[Register, float] | None = None) -> Delivery:
        """Write one set-point, in the registers of one device that make it up, and read back what is asked for.

        Neighbours that are written by function 16 go out in one request.

        timeout: where the device keeps its own time-out and what it shall be; told once, and again after a failure.
        """
        told = _Told()
        device = owner(tellings[0].register, self._line.device_id)

        def job() -> None:
            self._of_device(device, partial(self._tell, tellings, timeout, told), ())
            told.problem = told.problem or self._devices[device].problem

        problem = self._worker.run(job) or told.problem
        if problem or not told.checked:
            text = f"written, but not read back: {problem}" if told.written else problem
            # What takes too long may well be written after all.
            answered = told.written or told.refused or (problem == LATE and told.begun)
            return Delivery(text, told.written, answered)
        doubts = (delivery for one in told.found if (delivery := _compared(one)).problem)
        return next(doubts, IN_FORCE)

    def insist(self) -> None:
        """The next request is made at once, also if the last one failed."""
        self._worker.insist()
        for health in self._devices.values():
            health.retry_s = float("-inf")

    def close(self) -> None:
        """Stop the thread and free the port."""
        self._worker.stop()

    # -- in the worker's thread

    def _of_device(self, device: int, job: Callable[[], None], names: Iterable[str]) -> None:
        """Do it unless the device is left alone. Raises DeviceError where it is the only one: then it is the line."""
        health, now_s = self._devices[device], self._clock.monotonic()
        if health.problem and now_s < health.retry_s:
            self._missing(names, health.problem)
            return
        try:
            job()
        except DeviceError as error:
            self._settings.clear()
            self._models.pop(device, None)  # it may have been given other firmware
            if len(self._devices) == 1:
                raise
            health.problem, health.session = str(error), health.session + 1
            health.backoff_s = min(BACKOFF_LAST_S, 2 * health.backoff_s or BACKOFF_FIRST_S)
            health.retry_s = now_s + health.backoff_s
            self._missing(names, health.problem)
            self._line.close()  # what it may still say is not to be taken for the answer of the next one
            self._line.open()
        else:
            health.problem, health.backoff_s = "", 0.0

    def _missing(self, names: Iterable[str], problem: str) -> None:
        for name in names:
            self._arrivals.put(name, Arrival(None, self._clock.monotonic(), problem))

    def _take(self, asked: Mapping[str, Sequence[Register]]) -> None:
        """Read the registers of one device and keep what they say."""
        own = self._line.device_id
        registers: dict[str, list[Register] | NoValueError] = {}
        for name, terms in asked.items():
            try:
                registers[name] = [self._placed(one) for one in terms]
            except NoValueError as error:
                registers[name] = error
        known = [one for terms in registers.values() if isinstance(terms, list) for one in terms]
        memory = self._memory(spans_of(known, own))
        for name, found in registers.items():
            try:
                if not isinstance(found, list):
                    raise found
                value = sum(self._value(memory, one) for one in found)
            except (ValueError, DeviceRefusedError) as error:
                missing = isinstance(error, NoValueError)
                self._arrivals.put(name, Arrival(None, self._clock.monotonic(), str(error), missing))
            else:
                blank = len(found) == 1 and is_blank(_said(memory[value_span(found[0], own)]), found[0])
                why = f"register {found[0].address} has all bits set: not implemented" if blank else ""
                self._arrivals.put(name, Arrival(value, self._clock.monotonic(), none_outside=why))

    def _memory(self, spans: Collection[RegisterSpan]) -> dict[RegisterSpan, list[int] | DeviceRefusedError]:
        """What is in the spans, block by block, or why the device will not say."""
        found: dict[RegisterSpan, list[int] | DeviceRefusedError] = {}
        for block in joined(spans, self._line.gap):
            inside = sorted(span for span in spans if block.covers(span))
            if block not in self._apart:
                try:
                    words = self._line.read(block)
                except DeviceRefusedError as refusal:
                    if len(inside) == 1:
                        found[inside[0]] = refusal
                        continue
                    self._apart.add(block)
                else:
                    found |= {s: words[s.address - block.address : s.end - block.address] for s in inside}
                    continue
            for span in inside:
                try:
                    found[span] = self._line.read(span)
                except DeviceRefusedError as refusal:
                    found[span] = refusal
        return found

    def _value(self, memory: Mapping[RegisterSpan, list[int] | DeviceRefusedError], register: Register) -> float:
        """Raises ValueError, NoValueError, DeviceRefusedError."""
        own = self._line.device_id
        scale = scale_span(register, own)
        power = 0 if scale is None else exponent(_said(memory[scale])[0], scale.address)
        return decode(_said(memory[value_span(register, own)]), register, power)

    def _tell(self, tellings: Sequence[Telling], timeout: tuple[Register, float] | None, told: _Told) -> None:
        """Raises DeviceError where the device is silent; a refusal is noted."""
        own = self._line.device_id
        told.begun = True
        try:
            tellings = [replace(one, register=self._placed(one.register)) for one in tellings]
            powers = [self._power(one.register) for one in tellings]
            written = [(t, encode(t.value, t.register, power)) for t, power in zip(tellings, powers, strict=True)]
            if timeout is not None:
                self._set_once(timeout[0], encode(timeout[1], timeout[0], self._power(timeout[0])))
            for span, words, function in _requests(written, own):
                self._line.write(span, words, function)
            told.written = True
            for (one, words), power in zip(written, powers, strict=True):
                if one.readback:
                    found = self._line.read(value_span(one.register, own))
                    told.found.append(_ReadBack(one, words, found, power))
            told.checked = True
        except ValueError as error:  # it does not fit
            told.problem = str(error)
        except DeviceRefusedError as error:  # an answer all the same: the line is in order
            told.problem, told.refused = str(error), True

    def _placed(self, register: Register) -> Register:
        """Where it is on this device. Raises NoValueError, DeviceError."""
        if register.model is None:
            return register
        device = owner(register, self._line.device_id)
        if device not in self._models:
            self._models[device] = models_of(
                lambda address, count: self._line.read(RegisterSpan(device, "holding", address, count))
            )
        return placed(register, self._models[device])

    def _power(self, register: Register) -> int:
        """Raises NoValueError, DeviceError."""
        scale = scale_span(register, self._line.device_id)
        return 0 if scale is None else exponent(self._line.read(scale)[0], scale.address)

    def _set_once(self, register: Register, words: Sequence[int]) -> None:
        """Write a setting unless the device was told since the port was opened: such registers live in flash."""
        span = value_span(register, self._line.device_id)
        if self._settings.get((span.device, span.address)) == words:
            return
        if self._line.read(span) != list(words):
            self._line.write(span, words, function_of(register))
        self._settings[span.device, span.address] = words


def function_of(register: Register) -> int:
    """By which function of Modbus it is written. One word by 6 where nothing is said: some devices know no other."""
    if register.function is not None:
        return register.function
    if register.kind == "coil":
        return 5
    return 6 if register.type in {"uint16", "int16"} else 16


def _said(words: list[int] | DeviceRefusedError) -> list[int]:
    if isinstance(words, DeviceRefusedError):
        raise words
    return words


def _requests(written: Sequence[tuple[Telling, list[int]]], own: int) -> list[tuple[RegisterSpan, list[int], int]]:
    """Where, what, and by which function; neighbours for which it is 16 in one."""
    requests: list[tuple[RegisterSpan, list[int], int]] = []
    for one, words in written:
        span, function = value_span(one.register, own), function_of(one.register)
        if requests and function == 16:
            before, there, how = requests[-1]
            if how == 16 and (before.device, before.kind, before.end) == (span.device, span.kind, span.address):
                whole = RegisterSpan(before.device, before.kind, before.address, before.count + span.count)
                requests[-1] = whole, [*there, *words], 16
                continue
        requests.append((span, words, function))
    return requests


def _compared(one: _ReadBack) -> Delivery:
    """Whether what was read back is what was written."""
    if list(one.found) == list(one.words):
        return IN_FORCE
    value, within = one.told.value, one.told.within
    try:
        held = decode(one.found, one.told.register, one.power)
    except ValueError as error:
        return Delivery(f"read back nothing ({error}) after writing {value:g}")
    if within is not None and abs(held - value) <= within * (1 + 1e-9):
        return IN_FORCE
    return Delivery(f"read back {held:g} after writing {value:g}")
