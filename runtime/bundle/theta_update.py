"""A theta update: new parameters for a bundle that is already there, a few kB, signed, live without a compiler.

Two lines of JSON. The first says what is to change, the second holds the Ed25519 signature over the first:

    {"kind": "nisse theta update", "format_version": 1, "bundle": "<SHA-256>", "theta": {"name": value, ...}, ...}
    {"key": "ed25519:<base64>", "signature": "<base64>"}

It names the bundle that it was made for and fits no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from runtime.bundle.archive import Bundle
from runtime.bundle.manifest import ArxObserver, Serial, lowered_serial, raised_serial
from runtime.bundle.records import Finite, Name, StrictRecord
from runtime.bundle.serials import stamp
from runtime.bundle.signature import checked_signature, seal
from runtime.bundle.theta_values import check_theta
from runtime.errors import (
    BundleFormatError,
    BundleMalformedError,
    BundleMissingError,
    ThetaMisfitError,
)
from runtime.formats.plain_files import UnfitFileError, read_plain, replace_durably

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.bundle.keys import SigningKey

KIND: Final = "nisse theta update"
FORMAT_VERSION: Final = 1
MAX_BYTES = 4 << 20


class ThetaUpdate(StrictRecord):
    """What a theta update says."""

    kind: Literal["nisse theta update"] = KIND
    format_version: Literal[1] = FORMAT_VERSION
    bundle: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Digest of the bundle whose theta this is."""
    theta: dict[Name, Finite]
    provenance: dict[str, Any] = Field(default_factory=dict)
    created: str = ""
    """When, ISO 8601."""
    serial: Serial = 0
    """Larger than that of any update before, whatever its bundle; 0 where there was none. Stands under `provenance`."""

    @model_validator(mode="before")
    @classmethod
    def _with_its_serial(cls, document: Any) -> Any:
        return raised_serial(document)

    @model_serializer(mode="wrap")
    def _as_it_is_read_by_all(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return lowered_serial(write(self))


def write_update(file: Path, bundle: Bundle, theta: Mapping[str, float], key: SigningKey, **said: Any) -> Path:
    """Write and sign an update of `bundle`; said: provenance, created, serial. Raises ThetaMisfitError."""
    update = ThetaUpdate(bundle=bundle.digest, theta={n: float(v) for n, v in theta.items()}, **said)
    _checked_theta(update, bundle, file)
    message = json.dumps(update.model_dump(mode="json"), sort_keys=True, allow_nan=False).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(file, message + b"\n" + seal(message, key))
    return file


def with_update(bundle: Bundle, file: Path, trusted_keys: Sequence[str] | None) -> Bundle:
    """`bundle` with the theta of the update in `file`. Raises a BundleError; ThetaMisfitError: made for another."""
    message, found = _lines(file)
    checked_signature(message, found, file, trusted_keys)
    update = _parsed(file, message)
    theta = _checked_theta(update, bundle, file)
    digest = hashlib.sha256(message).hexdigest()
    return replace(bundle, theta=theta, theta_stamp=stamp(digest, update.serial, update.created))


def _lines(file: Path) -> tuple[bytes, bytes]:
    try:
        message, _, found = read_plain(file, MAX_BYTES).partition(b"\n")
    except UnfitFileError as error:
        raise BundleMalformedError(f"{file}: {error.strerror}; no theta update") from error
    except OSError as error:
        raise BundleMissingError(f"{file}: {error.strerror}; `nisse theta pack` writes a theta update") from error
    return message, found


def _parsed(file: Path, message: bytes) -> ThetaUpdate:
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        raise BundleMalformedError(f"{file}: not JSON; pack it again with `nisse theta pack`") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleFormatError(f"{file}: theta update of format {version}, this nisse reads {FORMAT_VERSION}; update")
    try:
        return ThetaUpdate.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleMalformedError(f"{file}: {where}: {first['msg']}; pack it again with `nisse theta pack`") from None


def _checked_theta(update: ThetaUpdate, bundle: Bundle, file: Path) -> dict[str, float]:
    """In the order of the manifest."""
    manifest = bundle.manifest
    if update.bundle != bundle.digest:
        raise ThetaMisfitError(
            f"{file}: made for bundle {update.bundle[:16]}, not for {manifest.name} {bundle.digest[:16]}; "
            "pack it again for this one, or install its bundle"
        )
    try:
        check_theta(manifest.theta, update.theta)
    except ValueError as error:
        raise ThetaMisfitError(f"{file}: {error}; pack it again with values inside the bundle's bounds") from error
    observers = (group.estimator for group in manifest.groups)
    kept = [name for observer in observers if isinstance(observer, ArxObserver) for name in observer.parameters]
    changed = [name for name in kept if update.theta[name] != bundle.theta[name]]
    if changed:
        raise ThetaMisfitError(
            f"{file}: changes {changed[0]}, which the bundle's observer holds a copy of; build a bundle for it"
        )
    return {spec.name: update.theta[spec.name] for spec in manifest.theta}
