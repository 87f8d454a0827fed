"""[web]: where the page of the running house is to be had, and by whom."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictBool, model_validator

from runtime.site.section import Section

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class WebSection(Section):
    """On this machine only, unless `listen` says otherwise; beyond it a password is needed."""

    listen: str = "127.0.0.1"
    """An address of this machine; 0.0.0.0 for all of them."""
    port: Annotated[int, Field(gt=0, lt=65536, strict=True)] = 8377
    names: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.\-\[\]:]{1,253}$")], ...] = ()
    """By which names the page may be asked for beside the address, say "nisse.local"."""
    password_file: Path | None = None
    """What `nisse web password` wrote."""
    password_credential: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = None
    """The same as a credential of the service manager; instead of password_file."""
    https: StrictBool = False
    """Whether a proxy in front speaks TLS: cookies are then for TLS only."""

    @model_validator(mode="after")
    def _closed_by_default(self) -> WebSection:
        try:
            address = ipaddress.ip_address(self.listen)
        except ValueError as error:
            raise ValueError(f'listen = "{self.listen}" is no address; write 127.0.0.1, or 0.0.0.0 for all') from error
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give password_file or password_credential, not both")
        if not address.is_loopback and self.password_file is None and self.password_credential is None:
            raise ValueError(
                "beyond this machine the page needs a password: make one with `nisse web password FILE` and name it as "
                "password_file"
            )
        return self

    @property
    def hosts(self) -> frozenset[str]:
        """What may stand in the Host header, without the port."""
        own = [f"[{self.listen}]" if ":" in self.listen else self.listen]
        return frozenset(name.lower() for name in (*LOOPBACK_NAMES, *own, *self.names))
