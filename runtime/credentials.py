"""Secrets and certificates: from files or the service manager's credentials; never logged, never published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config import MqttSection, SiteFile
from runtime.errors import ConfigError

if TYPE_CHECKING:
    import ssl


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


def tls_context(section: MqttSection) -> ssl.SSLContext:
    """As the site file says; the broker's certificate and name are always checked. Raises ConfigError."""
    import ssl  # some megabytes, which a site without TLS does without

    cert, key = section.cert_file, section.key_file
    try:
        context = ssl.create_default_context(cafile=None if section.ca_file is None else str(section.ca_file))
        if cert is not None:
            context.load_cert_chain(str(cert), None if key is None else str(key))
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(str(f) for f in (section.ca_file, cert, key) if f is not None)
        raise ConfigError(f"{named}: no usable certificates ({error}); name PEM files the service may read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(f"{file}: no password on its first line; make it readable for the service") from error
