"""Entries of a site file that cannot both work: one port twice, one register for two, a topic that answers itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.links import frames
from runtime.links.modbus_blocks import owner
from runtime.links.registers import encode, words_of
from runtime.site.register import Register
from runtime.site.signals import MQTT, OutputSection

if TYPE_CHECKING:
    from runtime.site.config import SiteFile

Where = tuple[str | int, ...]
LAST_ADDRESS = 65535


@dataclass(frozen=True)
class _Claim:
    """Registers of one device that an entry reads or writes; `told`: a number that is always written there."""

    where: Where
    register: Register
    device: int
    writes: bool
    told: float | None = None

    @property
    def last(self) -> int:
        return self.register.address + words_of(self.register) - 1

    def overlaps(self, other: _Claim) -> bool:
        mine, theirs = self.register, other.register
        same = (self.device, mine.kind, mine.model) == (other.device, theirs.kind, theirs.model)
        return same and mine.address <= other.last and theirs.address <= self.last

    def same_number(self, other: _Claim) -> bool:
        """Whether both mean the same words and the same number in them."""
        mine, theirs = self.register, other.register
        words = [(r.address, r.type, r.word_order, r.byte_order) for r in (mine, theirs)]
        # Bits of one word may be several inputs.
        return words[0] == words[1] or (not self.writes and not other.writes and None not in {mine.mask, theirs.mask})


def check_conflicts(site: SiteFile) -> None:
    """Raises ConfigError at the first entry that is in the way of another one."""
    _check_ports(site)
    for link, section in site.lines.items():
        if site.speaks(link) == "modbus":
            _check_registers(site, link, section.device_id)
        else:
            _check_channels(site, link)
    _check_topics(site)
    for name, output in site.outputs.items():
        _check_safe(site, name, output)
    _check_files(site)


def _check_ports(site: SiteFile) -> None:
    """A port is opened once, whatever it is called; many gateways take one connection only."""
    for (one, first), (other, second) in combinations(site.serial.items(), 2):
        if set(_identities(first.port, site.path.parent)) & set(_identities(second.port, site.path.parent)):
            called = "" if first.port == second.port else f", which is {first.port} by another name"
            raise site.error(
                ("serial", other, "port"),
                f"{second.port}{called}: [serial.{one}] has that line already, and a line is opened once; "
                f"give registers of a second device on it their device_id and leave [serial.{other}] out, or give it "
                "an adapter of its own",
            )

    for (one, mine), (other, theirs) in combinations(site.modbus.items(), 2):
        if (_host(mine.host), mine.port) == (_host(theirs.host), theirs.port):
            raise site.error(
                ("modbus", other, "host"),
                f"[modbus.{one}] has {theirs.host}:{theirs.port} already, and is one connection; give its registers "
                f"device_id = {theirs.device_id} and leave [modbus.{other}] out",
            )


def _host(name: str) -> str:
    return "127.0.0.1" if name.lower() == "localhost" else name.lower()


def _identities(port: str, folder: Path) -> Iterator[str]:
    """What tells one port from another: where its names lead, and the device itself."""
    parts = urlsplit(port)
    if "://" in port and parts.scheme.lower() not in {"spy", "alt"}:
        yield f"{parts.scheme.lower()}://{_host(parts.hostname or '')}:{_port_number(parts.netloc)}"
        return
    path = parts.path if "://" in port else port
    for start in (Path.cwd(), folder):
        real = os.path.realpath(start / path)
        yield real
        try:
            status = Path(real).stat()
        except OSError:  # not plugged in, or on another machine
            continue
        if stat.S_ISCHR(status.st_mode):
            yield f"device {status.st_rdev}"


def _port_number(netloc: str) -> str:
    return netloc.rpartition(":")[2].lstrip("0")


def _check_registers(site: SiteFile, link: str, device: int) -> None:
    claims = [
        *(
            _Claim(("inputs", name, "register"), register, owner(register, device), writes=False)
            for name, entry in site.inputs.items()
            if entry.source == link
            for register in entry.registers
        ),
        *(
            _Claim(
                ("outputs", name, "timeout_register" if register is output.timeout_register else "register"),
                register,
                owner(register, device),
                writes=True,
                told=output.device_timeout_s if register is output.timeout_register else None,
            )
            for name, output in site.outputs.items()
            if output.sink == link
            for register in dict.fromkeys(output.registers)
        ),
    ]
    for claim in claims:
        if claim.last > LAST_ADDRESS:
            text = f"a {claim.register.type} at {claim.register.address} ends beyond the last register, {LAST_ADDRESS}"
            raise site.error(claim.where, f"{text}; see the register map of the device")
    for one, other in combinations(claims, 2):
        if not one.overlaps(other):
            continue
        same = one.same_number(other)
        if one.writes and other.writes and one.where[1] == other.where[1] and same:
            continue  # the modes of one output
        if one.writes and other.writes and not (same and one.told is not None and one.told == other.told):
            remedy = "name both actions in the combine of one output" if one.told is other.told else "see its manual"
            raise site.error(other.where, f"is written by {_name(one)} too, and a register keeps one number; {remedy}")
        if not same:
            raise site.error(
                other.where,
                f"{_words(other)} overlaps {_words(one)} of {_name(one)}, so one of them reads parts of the other; "
                "give both the address and type of the device's register map",
            )


def _check_channels(site: SiteFile, link: str) -> None:
    taken: dict[int, str] = {}
    for name, output in site.outputs.items():
        if output.sink != link or output.channel is None:
            continue
        first = taken.setdefault(output.channel.number, name)
        if first != name:
            raise site.error(
                ("outputs", name, "channel"),
                f"is written by outputs.{first} too; name both actions in the combine of one output",
            )


def _check_topics(site: SiteFile) -> None:
    own, prefix = f"nisse/{site.site.name}/", site.homeassistant.prefix
    reserved = {"bench/barrier", *([f"{prefix}/status"] if site.homeassistant.discovery else [])}
    heard = {entry.topic: name for name, entry in site.inputs.items() if entry.source == MQTT}
    said: dict[str, str] = {}
    entries = [
        *((("inputs", name, "topic"), entry.topic) for name, entry in site.inputs.items() if entry.source == MQTT),
        *((("outputs", name, "topic"), topic) for name, output in site.outputs.items() for topic in output.topics),
    ]
    for where, topic in entries:
        if topic is not None and (topic.startswith(own) or topic in reserved):
            raise site.error(where, f"{topic!r} is a topic of the daemon's own; choose another")
    for name, output in site.outputs.items():
        if output.sink != MQTT:
            continue
        where = ("outputs", name, "topic")
        for topic in output.topics:
            if topic.startswith("$"):
                raise site.error(where, "nobody may publish below $; choose another topic")
            if topic in heard:
                raise site.error(
                    where,
                    f"inputs.{heard[topic]} reads it, and would hear what the daemon says; choose another",
                )
            first = said.setdefault(topic, name)
            if first != name:
                raise site.error(
                    where,
                    f"outputs.{first} has it too; name both actions in the combine of one output, or choose another",
                )


def _check_safe(site: SiteFile, name: str, output: OutputSection) -> None:
    """The safe value is the one that must always get through."""
    try:
        for write in () if output.channel is not None else output.writes(output.safe):
            if write.register_ is not None and write.register_.scale_register is None:
                encode(write.number(output.safe), write.register_)
        if output.channel is not None:
            frames.write_payload(output.channel.number, output.channel.raw(output.safe), 1)
    except (ValueError, OverflowError) as error:
        raise site.error(
            ("outputs", name, "safe"), f"can never be written: {error}; see type and scale in the device's manual"
        ) from error


def _check_files(site: SiteFile) -> None:
    """The status file is replaced after every cycle: nothing else lies in its place."""
    if site.status.file is None:
        return
    place = os.path.realpath(site.relative(site.status.file))
    others = {
        "log": site.relative(site.store.path),
        "bundle": site.relative(site.controller.bundle),
        "site file": site.path,
    }
    for what, path in others.items():
        if place == os.path.realpath(path):
            raise site.error(("status", "file"), f"would be written over the {what}; choose another place")


def _name(claim: _Claim) -> str:
    return ".".join(map(str, claim.where[:2]))


def _words(claim: _Claim) -> str:
    first = claim.register.address
    span = f"{first}" if claim.last == first else f"{first} to {claim.last}"
    return f"register {span} ({claim.register.type})"
