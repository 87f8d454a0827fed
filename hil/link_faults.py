"""What breaks: link faults, which pull cables, kill processes, fill disks and move clocks.

They begin and end before a cycle, or inside one when the device is read or written to. Each acts on the real thing:
the pty is closed, the broker and the daemon get SIGKILL, writing to files fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from hil.bench_feeds import BenchFeeds
from hil.broker import Broker
from hil.lockstep import LockstepDaemon
from hil.modbus_plant import Answer, ModbusDevice, Trap
from hil.mqtt_side import MqttSide
from hil.named_devices import NamedPlantDevice
from hil.scenario import Fault
from hil.serial_line import SerialLine

ANSWERS: dict[str, Answer] = {
    "off": "silent",
    "garbage": "garbage",
    "bad_crc": "bad_crc",
    "exception": "exception",
    "slow": "slow",
    "own_mode": "own_mode",
}


@dataclass
class BenchLinks:
    """Everything on the bench that can be broken. `clock_offset_s` is wall time minus the scenario's time."""

    line: SerialLine
    device: ModbusDevice
    broker: Broker
    mqtt: MqttSide
    daemon: LockstepDaemon
    clock_offset_s: float = 0.0
    disk_full: bool = False
    forecasts: BenchFeeds | None = None
    """The feeds and their services, where the scenario has them."""
    named: tuple[NamedPlantDevice, ...] = ()

    def start_daemon(self) -> None:
        """(Re)start the daemon and wait until it can be reached; a full disk stays full."""
        self.mqtt.forget_availability()
        self.daemon.start()
        if self.disk_full:
            self.daemon.limit_files(0)
        if self.broker.running:
            self.mqtt.wait_daemon_online()

    def every_device(self, which: str) -> list[NamedPlantDevice]:
        """Those that are meant by a fault."""
        return [device for device in self.named if which in {"", device.spec.name}]


@dataclass
class LinkFaults:
    """The link faults of a scenario; `advance` is called before every cycle, in order of time."""

    faults: Sequence[Fault]
    links: BenchLinks
    _begun: set[int] = field(default_factory=set)
    _ended: set[int] = field(default_factory=set)

    def advance(self, elapsed_s: float) -> None:
        """Ends before begins, so that a fault that follows another at once finds a whole bench."""
        due = [(number, fault) for number, fault in enumerate(self.faults) if fault.link is not None]
        for number, fault in due:
            if number in self._begun and number not in self._ended and elapsed_s >= fault.end:
                self._end(number, fault)
        for number, fault in due:
            if number not in self._begun and elapsed_s >= fault.at:
                self._begun.add(number)
                if fault.within is not None:  # it ends before a later cycle, when it has begun
                    self.links.device.traps.append(Trap(fault.within, partial(WITHIN[fault.kind], self.links, fault)))
                    continue
                _acts(fault)[0](self.links, fault)
                if elapsed_s >= fault.end:
                    self._end(number, fault)

    def after_cycle(self) -> None:
        """What waited for a moment that did not come happens now: the cycle may have had nothing to read or write."""
        traps, self.links.device.traps = self.links.device.traps, []
        if traps:
            with self.links.device.line_held():
                for trap in traps:
                    trap.act()

    def _end(self, number: int, fault: Fault) -> None:
        """Repair, unless another fault still keeps it broken."""
        self._ended.add(number)
        others = [self.faults[n] for n in self._begun - self._ended if self.faults[n].link == fault.link]
        if fault.link in BY_LINK:  # the others begin anew, on a link that is whole
            BY_LINK[fault.link][1](self.links, fault)
            for other in sorted(others, key=lambda one: one.at):
                BY_LINK[fault.link][0](self.links, other)
            return
        if fault.kind == "clock_jump" or all(other.kind != fault.kind for other in others):
            ACTIONS[fault.kind][1](self.links, fault)
        for other in others:
            if other.kind in ANSWERS and fault.kind in ANSWERS:
                ACTIONS[other.kind][0](self.links, other)


def _misbehave(links: BenchLinks, fault: Fault) -> None:
    links.device.answer, links.device.delay_s = ANSWERS[fault.kind], fault.delay


def _behave(links: BenchLinks, _fault: Fault) -> None:
    links.device.answer = "normal"


def _pull(links: BenchLinks, _fault: Fault) -> None:
    with links.device.line_held():
        links.line.unplug()


def _pull_within(links: BenchLinks, _fault: Fault) -> None:
    links.line.unplug()  # from the device's own thread, which holds the line


def _shoot_daemon(links: BenchLinks, _fault: Fault) -> None:
    links.daemon.shoot()


def _plug(links: BenchLinks, _fault: Fault) -> None:
    with links.device.line_held():
        links.line.plug()


def _kill_broker(links: BenchLinks, _fault: Fault) -> None:
    links.broker.kill()
    links.mqtt.forget()


def _restart_broker(links: BenchLinks, _fault: Fault) -> None:
    links.broker.start()
    links.mqtt.wait_connected()
    if links.daemon.running:
        links.mqtt.wait_daemon_online()
    if links.forecasts is not None and links.forecasts.process.running:
        links.mqtt.wait_feeds_online()


def _kill_daemon(links: BenchLinks, _fault: Fault) -> None:
    links.daemon.kill()


def _restart_daemon(links: BenchLinks, _fault: Fault) -> None:
    links.start_daemon()


def _fill_disk(links: BenchLinks, _fault: Fault) -> None:
    links.disk_full = True
    links.daemon.limit_files(0)


def _empty_disk(links: BenchLinks, _fault: Fault) -> None:
    links.disk_full = False
    links.daemon.limit_files(None)


def _jump(links: BenchLinks, fault: Fault) -> None:
    links.clock_offset_s += fault.by


def _jump_back(links: BenchLinks, fault: Fault) -> None:
    if fault.duration > 0.0:  # without `for` the clock stays wrong
        links.clock_offset_s -= fault.by


def _spoil(links: BenchLinks, fault: Fault) -> None:
    assert links.forecasts is not None
    links.forecasts.outside.faults[fault.which] = fault.kind


def _mend(links: BenchLinks, fault: Fault) -> None:
    assert links.forecasts is not None
    links.forecasts.outside.faults.pop(fault.which, None)


def _kill_feeds(links: BenchLinks, _fault: Fault) -> None:
    assert links.forecasts is not None
    links.forecasts.process.kill()


def _restart_feeds(links: BenchLinks, _fault: Fault) -> None:
    assert links.forecasts is not None
    links.forecasts.start(links.mqtt, links.broker)


def _device_misbehaves(links: BenchLinks, fault: Fault) -> None:
    for device in links.every_device(fault.which):
        device.misbehave(fault.kind, fault.delay)  # type: ignore[arg-type]


def _device_behaves(links: BenchLinks, fault: Fault) -> None:
    for device in links.every_device(fault.which):
        device.misbehave("normal", 0.0)


Act = Callable[[BenchLinks, Fault], None]
WITHIN: dict[str, Act] = {"cable_pull": _pull_within, "kill_9": _shoot_daemon, "broker_kill": _kill_broker}
ACTIONS: dict[str, tuple[Act, Act]] = {
    **dict.fromkeys(ANSWERS, (_misbehave, _behave)),
    "cable_pull": (_pull, _plug),
    "broker_kill": (_kill_broker, _restart_broker),
    "kill_9": (_kill_daemon, _restart_daemon),
    "disk_full": (_fill_disk, _empty_disk),
    "clock_jump": (_jump, _jump_back),
}
BY_LINK: dict[str | None, tuple[Act, Act]] = {
    "services": (_spoil, _mend),
    "feeds": (_kill_feeds, _restart_feeds),
    "device": (_device_misbehaves, _device_behaves),
}
"""Of links whose faults are told apart by more than their kind."""


def _acts(fault: Fault) -> tuple[Act, Act]:
    return BY_LINK.get(fault.link) or ACTIONS[fault.kind]
