"""Secrets and certificates: from files or the service manager's credentials; never logged, never published."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ConfigError
from runtime.formats.plain_files import read_plain, read_text
from runtime.site.config import MqttSection, SiteFile

MAX_SECRET_BYTES, MAX_PEM_BYTES = 1 << 16, 4 << 20

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
        with contextlib.ExitStack() as stack:

            def named(file: Path | None) -> str | None:
                """What the plain file there holds now, as a file in memory: the TLS library reads by name only."""
                if file is None:
                    return None
                copy = stack.enter_context(os.fdopen(os.memfd_create("pem"), "wb", buffering=0))
                copy.write(read_plain(file, MAX_PEM_BYTES))
                return f"/proc/self/fd/{copy.fileno()}"

            context = ssl.create_default_context(cafile=named(section.ca_file))
            if cert is not None:
                # A key that wants a passphrase must not be asked for one at a terminal.
                context.load_cert_chain(f"{named(cert)}", named(key), password="")
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(f) for f in (section.ca_file, cert, key) if f is not None)
        raise ConfigError(f"{files}: no usable certificates ({error}); name PEM files the service may read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _first_line(file: Path) -> str:
    try:
        return read_text(file, MAX_SECRET_BYTES).splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(f"{file}: no password on its first line; make it readable for the service") from error
