"""The status file: state and plan after every cycle, for `nisse status` and scripts on the same machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import NisseError
from runtime.formats.documents import read_json
from runtime.formats.plain_files import UnfitFileError, replace_at_once
from runtime.formats.text import document_text
from runtime.site.config import SiteFile

DEFAULT_DIRECTORY = Path("/run/nisse")
MAX_BYTES = 8 << 20


class StatusError(NisseError):
    """No daemon has said anything here."""


@dataclass(frozen=True)
class Status:
    """What a daemon last said. `written_s` is Unix time; `plan` and `state` are the documents that it publishes."""

    site: str
    written_s: float | None
    state: dict[str, Any]
    plan: dict[str, Any] | None = None
    online: bool = True


def status_path(site: SiteFile) -> Path:
    """Where the daemon of this site writes its status: as the site file says, or the service's directory."""
    named = site.status.file
    return DEFAULT_DIRECTORY / f"{site.site.name}.json" if named is None else site.relative(named)


def write_status(path: Path, status: Status, plan_text: str | None = None) -> None:
    """Replace the file as a whole: a reader sees the old one or the new one. Raises OSError.

    plan_text: the plan's `document_text`, where that is at hand.
    """
    head = document_text({"site": status.site, "written_s": status.written_s, "state": status.state})
    text = f'{head[:-1]},"plan":{plan_text or document_text(status.plan)}}}\n'
    # It holds no secret, and whoever asks is not the service's user.
    replace_at_once(path, text.encode(), mode=0o644)


def read_status(path: Path) -> Status:
    """Raises StatusError."""
    try:
        document = read_json(path, MAX_BYTES)
        plan = document["plan"]
        return Status(
            site=str(document["site"]),
            written_s=float(document["written_s"]),
            state=dict(document["state"]),
            plan=None if plan is None else dict(plan),
        )
    except UnfitFileError as error:
        raise StatusError(f"{path}: {error.strerror}, so no status file; name another with --file") from error
    except OSError as error:
        raise StatusError(f"{path}: {error.strerror}; is the daemon running? (systemctl status nisse)") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StatusError(f"{path}: not a status file ({error}); name another with --file") from error
