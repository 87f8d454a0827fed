"""Secrets: from a file, or from a credential that the service manager hands over; never logged, never published."""

from __future__ import annotations

from pathlib import Path

from runtime.config import MqttSection, SiteFile
from runtime.errors import ConfigError


def mqtt_password(site: SiteFile, credentials: Path | None) -> str | None:
    """The broker's password. `credentials` is the service manager's folder ($CREDENTIALS_DIRECTORY), if there is one.

    Raises ConfigError, which names the place and never the content.
    """
    section = site.mqtt
    if section is None:
        return None
    if section.password_credential is not None:
        if credentials is None:
            raise site.error(
                ("mqtt", "password_credential"),
                "no credentials were handed over; start with LoadCredential= in the unit (nisse service show), "
                "or use password_file",
            )
        return _first_line(credentials / section.password_credential)
    return None if section.password_file is None else _first_line(site.relative(section.password_file))


def mqtt_section(site: SiteFile) -> MqttSection | None:
    """The broker's table with the paths of its certificates resolved."""
    section = site.mqtt
    if section is None:
        return None
    files = {name: getattr(section, name) for name in ("ca_file", "cert_file", "key_file")}
    return section.model_copy(update={n: site.relative(f) for n, f in files.items() if f is not None})


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(f"{file}: no password on its first line; make it readable for the service") from error
