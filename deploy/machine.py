"""The machine of the house as it answers, and whether nisse can run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.errors import MachineUnfitError

ARCHITECTURES = ("x86_64", "aarch64")
CLOCK_REFUSED_S, CLOCK_NAMED_S = 300.0, 5.0
OLDEST_LIBC = (2, 28)
ROOM_LEFT_BYTES = 60 << 20
"""What the log and the doctor need beside the deployment."""


@dataclass(frozen=True)
class Machine:
    """`ahead_s` is its clock less ours; `state` what it remembers of deployments, `files` contents that it has."""

    python: str
    arch: str
    libc: tuple[int, int]
    ahead_s: float
    free_bytes: int
    systemd: bool
    files: frozenset[str]
    releases: frozenset[str]
    state: dict[str, Any]
    busy: bool
    altered: tuple[str, ...]


def machine(facts: dict[str, Any], target: str, asked_s: float, answered_s: float) -> Machine:
    """From the answer to `probe` between two moments of our clock. Raises MachineUnfitError with what to do."""
    arch, bits = str(facts["machine"]), int(facts["bits"])
    if bits != 64 or arch not in ARCHITECTURES:
        raise MachineUnfitError(
            f"{target}: a {bits}-bit system on {arch}; nisse needs 64 bits ({', '.join(ARCHITECTURES)}): "
            "a Pi 3 or newer with the 64-bit Raspberry Pi OS"
        )
    name, version = facts["libc"]
    libc = tuple(int(part) for part in str(version).split(".")[:2] if part.isdigit())
    if name != "glibc" or len(libc) != 2 or libc < OLDEST_LIBC:
        raise MachineUnfitError(
            f"{target}: its C library is {name or 'unknown'} {version}, and the packages need glibc 2.28 or newer; "
            "install Debian 12 or newer"
        )
    if not facts["writable"]:
        raise MachineUnfitError(f"{target}: this user may not write there; leave out --no-sudo, or name another --root")
    early, late = float(facts["time_s"]) - answered_s, float(facts["time_s"]) - asked_s
    ahead_s = max(early, 0.0) if early > 0.0 else min(late, 0.0)
    if abs(ahead_s) > CLOCK_REFUSED_S:
        raise MachineUnfitError(
            f"{target}: its clock is {clock_text(ahead_s)}, and prices are bought by the hour; set the one "
            "that is wrong (sudo timedatectl set-ntp true)"
        )
    return Machine(
        str(facts["python"]),
        arch,
        (libc[0], libc[1]),
        ahead_s,
        int(facts["free_bytes"]),
        bool(facts["systemd"]),
        frozenset(facts["files"]),
        frozenset(facts["releases"]),
        dict(facts["state"]),
        bool(facts["busy"]),
        tuple(facts["altered"]),
    )


def check_room(there: Machine, needed_bytes: int, target: str) -> None:
    """Raises MachineUnfitError where the disk would be full."""
    if needed_bytes + ROOM_LEFT_BYTES > there.free_bytes:
        raise MachineUnfitError(
            f"{target}: {there.free_bytes >> 20} MB are free and {needed_bytes + ROOM_LEFT_BYTES >> 20} MB are needed; "
            "make room there (sudo apt clean, sudo journalctl --vacuum-size=50M)"
        )


def clock_text(ahead_s: float) -> str:
    """As it is said."""
    if abs(ahead_s) <= CLOCK_NAMED_S:
        return "right"
    return f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
