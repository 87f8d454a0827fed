"""The systemd units of daemon, feeds and page, and the folders around them: least privilege, in Debian's layout.

Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5) of systemd 252 (Debian 12).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runtime.errors import NisseError

UNIT = Path("etc/systemd/system/nisse.service")
FEEDS_UNIT = Path("etc/systemd/system/nisse-feeds.service")
WEB_UNIT = Path("etc/systemd/system/nisse-web.service")
CONFIGURATION, CREDENTIALS = Path("etc/nisse"), Path("etc/nisse/credentials")
# Secrets are for root; the service manager reads them for the daemon.
CREDENTIALS_MODE = 0o700
_PLAIN = re.compile(r"/[A-Za-z0-9_./@:+-]+")


_SEES = """# What it sees.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateIPC=yes
PrivateMounts=yes
ProcSubset=pid
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RemoveIPC=yes
"""
_MAY = """NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""


class ServiceError(NisseError):
    """The unit cannot be installed here."""


@dataclass(frozen=True)
class ServiceUnit:
    """`executable` is the absolute path of the command `nisse`, `site` of the site file."""

    place: ClassVar[Path] = UNIT
    executable: Path
    site: Path
    serial: bool = True
    """Whether the daemon may open serial ports."""

    def text(self) -> str:
        """The unit file. Raises ServiceError for a path that systemd would read as something else."""
        _check_paths(self.executable, self.site)
        return f"""# Written by `nisse service install`. Changes belong into a drop-in: systemctl edit nisse
[Unit]
Description=nisse, model predictive control of heat pumps and batteries
Wants=network-online.target
After=network-online.target time-sync.target mosquitto.service
ConditionPathExists={self.site}
# Nobody is there to start it again by hand: it is never given up.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={self.executable} run {self.site}
ExecReload=kill -HUP $MAINPID
# Fed only after a cycle that ran to its end.
WatchdogSec=30
Restart=on-failure
# Not faster: registers that are written at every start live in flash.
RestartSec=10
# Usage, bad bundle, bad site file: starting again would not help.
RestartPreventExitStatus=2 65 78
# SIGTERM leaves the devices safe; a serial line may need its time.
TimeoutStopSec=30
KillMode=mixed
OOMPolicy=continue
MemoryHigh=192M
MemoryMax=256M
TasksMax=64
Nice=-5

# Who it is and what it may write: its state, its runtime folder, and nothing else.
DynamicUser=yes
ConfigurationDirectory=nisse
StateDirectory=nisse
StateDirectoryMode=0700
RuntimeDirectory=nisse
RuntimeDirectoryMode=0755
UMask=0077
WorkingDirectory=/var/lib/nisse
# Each file of this folder, `mqtt_password` for one, is the credential nisse_<file>.
LoadCredential=nisse:/{CREDENTIALS}

{_SEES}{self._devices()}
# What it may do. The broker may be anywhere; the only port to listen on is that of /metrics, on localhost.
{_MAY}SocketBindDeny=any
SocketBindAllow=ipv4:tcp:1024-65535

[Install]
WantedBy=multi-user.target
"""

    def _devices(self) -> str:
        """PrivateDevices would hide the serial ports, so they are allowed by name and all others are not."""
        if not self.serial:
            return "PrivateDevices=yes\n"
        ports = "".join(f"DeviceAllow=char-{driver} rw\n" for driver in ("ttyUSB", "ttyACM", "ttyAMA", "ttyS"))
        return f"DevicePolicy=closed\n{ports}SupplementaryGroups=dialout\n"


@dataclass(frozen=True)
class FeedsUnit:
    """The process that asks services for forecasts: it has the network, and no device, no key and no log of control."""

    place: ClassVar[Path] = FEEDS_UNIT
    executable: Path
    site: Path

    def text(self) -> str:
        """The unit file. Raises ServiceError for a path that systemd would read as something else."""
        _check_paths(self.executable, self.site)
        return f"""# Written by `nisse service install`. Changes belong into a drop-in: systemctl edit nisse-feeds
[Unit]
Description=nisse feeds, forecasts of prices, weather, sun and load
Wants=network-online.target
After=network-online.target time-sync.target mosquitto.service
ConditionPathExists={self.site}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={self.executable} feed run {self.site}
# A request ends after half a minute.
WatchdogSec=300
Restart=on-failure
RestartSec=60
# Usage, bad site file: starting again would not help.
RestartPreventExitStatus=2 78
TimeoutStopSec=45
MemoryHigh=96M
MemoryMax=128M
TasksMax=32
Nice=5

# Who it is and what it may write: its answers and what it learned, and nothing of the daemon's.
DynamicUser=yes
ConfigurationDirectory=nisse
StateDirectory=nisse-feeds
StateDirectoryMode=0700
RuntimeDirectory=nisse-feeds
RuntimeDirectoryMode=0755
UMask=0022
WorkingDirectory=/var/lib/nisse-feeds
# Each file of this folder, `entsoe` for one, is the credential nisse_<file>.
LoadCredential=nisse:/{CREDENTIALS}

{_SEES}PrivateDevices=yes

# What it may do: open connections, and listen on no port.
{_MAY}SocketBindDeny=any

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class WebUnit:
    """The process that serves the page: it reads the daemon's status, listens on one port, and writes nothing."""

    place: ClassVar[Path] = WEB_UNIT
    executable: Path
    site: Path

    def text(self) -> str:
        """The unit file. Raises ServiceError for a path that systemd would read as something else."""
        _check_paths(self.executable, self.site)
        return f"""# Written by `nisse service install`. Changes belong into a drop-in: systemctl edit nisse-web
[Unit]
Description=nisse web, the page of the running house
Wants=network-online.target
After=network-online.target nisse.service mosquitto.service
ConditionPathExists={self.site}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={self.executable} web {self.site}
Restart=on-failure
RestartSec=10
# Usage, bad site file: starting again would not help.
RestartPreventExitStatus=2 78
TimeoutStopSec=15
MemoryHigh=96M
MemoryMax=128M
TasksMax=32
Nice=5

# Who it is: nobody who may write anything.
DynamicUser=yes
UMask=0077
# The folder holds, as nisse_<file>, the password of the page and that of the broker.
LoadCredential=nisse:/{CREDENTIALS}

{_SEES}PrivateDevices=yes

# What it may do: listen on a port that is nobody's by privilege, and speak to the broker.
{_MAY}SocketBindDeny=any
SocketBindAllow=ipv4:tcp:1024-65535
SocketBindAllow=ipv6:tcp:1024-65535

[Install]
WantedBy=multi-user.target
"""


def _check_paths(*paths: Path) -> None:
    for path in paths:
        if not _PLAIN.fullmatch(str(path)):
            raise ServiceError(f"{path}: a path in a unit has no spaces or percent signs; use another one")


def install(units: Sequence[ServiceUnit | FeedsUnit | WebUnit], root: Path) -> list[Path]:
    """Write the units and make the folders under `root`; what was written or made. Raises ServiceError."""
    made = []
    try:
        for folder, mode in ((CONFIGURATION, 0o755), (CREDENTIALS, CREDENTIALS_MODE)):
            path = root / folder
            if not path.is_dir():
                path.mkdir(parents=True)
                path.chmod(mode)
                made.append(path)
        for unit in units:
            file, text = root / unit.place, unit.text()
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.{os.getpid()}")
            partial.write_text(text, encoding="utf-8")
            partial.chmod(0o644)
            partial.replace(file)
            made.append(file)
    except OSError as error:
        raise ServiceError(
            f"{error.filename}: {error.strerror}; run it as root, or under another folder with --root"
        ) from error
    return made
