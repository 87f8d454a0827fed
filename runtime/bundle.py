"""The controller bundle: written, signed, packed, opened; an unsigned, altered or foreign one is refused.

A bundle holds native code. So every byte that reaches the loader is covered: the signature covers the manifest, the
manifest every other file, and a file that the manifest does not name is refused as well.

    manifest.json  theta.json  certificate.json  signature  lib/<arch>/libnisse_controller.so  src/  licenses/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runtime.errors import (
    BundleArchError,
    BundleError,
    BundleFormatError,
    BundleMalformedError,
    BundleMissingError,
    BundleTamperedError,
    BundleUnsignedError,
    BundleUntrustedError,
    KeyFileError,
)
from runtime.keys import is_signed_by
from runtime.manifest import (
    ABI_VERSION,
    FORMAT_VERSION,
    ActionLimit,
    DirectEstimator,
    Manifest,
    ParameterSpec,
    SafetySet,
    SignalSpec,
    StateLimit,
    check_theta,
)
from runtime.packing import MANIFEST, files_in, inside, pack, unpack

if TYPE_CHECKING:
    from runtime.keys import SigningKey

__all__ = [
    "ABI_VERSION",
    "FORMAT_VERSION",
    "LIBRARY",
    "ActionLimit",
    "Bundle",
    "DirectEstimator",
    "Manifest",
    "ParameterSpec",
    "SafetySet",
    "SignalSpec",
    "StateLimit",
    "open_bundle",
    "pack",
    "take_copy",
    "write_bundle",
]

THETA, CERTIFICATE, SIGNATURE = "theta.json", "certificate.json", "signature"
LIBRARY = "libnisse_controller.so"
MAX_JSON_BYTES = 4 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle. `library_path` is None only where the caller asked for no architecture."""

    directory: Path
    manifest: Manifest
    theta: dict[str, float]
    """Name -> value, in the order of `manifest.theta`."""
    certificate: dict[str, Any]
    library_path: Path | None
    signer: str
    """Public key, `ed25519:<base64>`."""
    digest: str
    """SHA-256 of the manifest, which names every file."""
    theta_digest: str = ""
    """SHA-256 of the theta update in force; empty while theta is the bundle's own."""

    @property
    def identity(self) -> str:
        """What decides: the bundle, and the theta update if there is one."""
        return self.digest[:16] + (f"+{self.theta_digest[:16]}" if self.theta_digest else "")

    def library_or_fail(self) -> Path:
        """The library; raises BundleArchError for a bundle that was opened without one."""
        if self.library_path is None:
            raise BundleArchError(f"{self.directory}: opened without a library; name an architecture")
        return self.library_path


def write_bundle(
    directory: Path,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    theta: Mapping[str, float],
    certificate: Mapping[str, Any],
    private_key: SigningKey,
) -> Path:
    """Write and sign a bundle at `directory`, which is replaced as a whole or not at all.

    `files` maps paths inside the bundle (`lib/x86_64/...`) to contents; `manifest.files` is filled in here.
    Raises BundleMalformedError when theta does not fit the manifest or a path leaves the bundle.
    """
    values = {name: float(value) for name, value in theta.items()}
    try:
        check_theta(manifest.theta, values)
    except ValueError as error:
        raise BundleMalformedError(f"cannot write bundle {manifest.name}: {error}") from error
    contents: dict[str, bytes | Path] = {
        **files,
        THETA: _json(_theta_document(manifest, values)),
        CERTIFICATE: _json(dict(certificate)),
    }
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        staging.chmod(0o755)
        hashes = {}
        for path, content in sorted(contents.items()):
            target = staging / inside(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            data = content.read_bytes() if isinstance(content, Path) else content
            target.write_bytes(data)
            hashes[path] = hashlib.sha256(data).hexdigest()
        message = _json(manifest.model_copy(update={"files": hashes}).model_dump(mode="json"))
        (staging / MANIFEST).write_bytes(message)
        signature = base64.b64encode(private_key.sign(message)).decode()
        (staging / SIGNATURE).write_bytes(_json({"key": private_key.public, "signature": signature}))
        _replace_directory(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory


def open_bundle(
    path: Path, trusted_keys: Sequence[str] | None, arch: str | None = None, unpack_dir: Path | None = None
) -> Bundle:
    """Verify a bundle (directory or packed file) and return it; raises a BundleError that says why not.

    trusted_keys: public keys; None accepts any signer (for tools on the build machine, never for the daemon).
    arch: as `platform.machine()`, whose value is the default; "any" asks for no library.
    unpack_dir: where a packed bundle is unpacked to, under its digest; by default beside the file.
    """
    path = Path(path)
    if path.is_dir():
        return _verify(path, path, trusted_keys, arch)
    if not path.is_file():
        raise BundleMissingError(f"{path}: no such bundle; `nisse build` writes one")
    root = unpack_dir if unpack_dir is not None else path.parent / f".{path.name}.unpacked"
    try:
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".unpack.", dir=root))
    except OSError as error:
        raise BundleMissingError(
            f"{root}: a packed bundle cannot be unpacked here ({error.strerror}); make it writable"
        ) from error
    try:
        staging.chmod(0o755)
        unpack(path, staging)
        bundle = _verify(staging, path, trusted_keys, arch)
        final = root / bundle.digest[:16]
        if not _is_same(final, bundle):
            _replace_directory(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _verify(final, path, trusted_keys, arch)


def take_copy(bundle: Bundle, root: Path, trusted_keys: Sequence[str]) -> Bundle:
    """A copy of an opened bundle under `root`, named by its digest and verified again: nobody else writes there."""
    final = root / bundle.digest[:16]
    if not _is_same(final, bundle):
        try:
            staging = Path(tempfile.mkdtemp(prefix=".copy.", dir=root))
        except OSError as error:
            raise BundleMissingError(
                f"{root}: no copy of the bundle can be made here ({error.strerror}); make room"
            ) from error
        try:
            staging.chmod(0o755)
            shutil.copytree(bundle.directory, staging, dirs_exist_ok=True)
            _verify(staging, bundle.directory, trusted_keys, None)
            _replace_directory(staging, final)
        except OSError as error:
            raise BundleMissingError(f"{root}: no copy of the bundle can be made here ({error}); make room") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return _verify(final, bundle.directory, trusted_keys, None)


def _is_same(directory: Path, bundle: Bundle) -> bool:
    """Whether `directory` already holds this bundle, unaltered: a running daemon may have its library open."""
    try:
        return _verify(directory, directory, [bundle.signer], "any").digest == bundle.digest
    except BundleError:
        return False


def _verify(directory: Path, shown: Path, trusted_keys: Sequence[str] | None, arch: str | None) -> Bundle:
    message = _read(directory, MANIFEST, shown)
    document = _parse_json(message, MANIFEST, shown)
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        remedy = "update nisse" if isinstance(version, int) and version > FORMAT_VERSION else "build it again"
        raise BundleFormatError(
            f"{shown}: format version {version!r}, this nisse reads version {FORMAT_VERSION}; {remedy}"
        )
    if document.get("abi_version") != ABI_VERSION:
        raise BundleFormatError(
            f"{shown}: controller ABI {document.get('abi_version')!r}, this nisse calls ABI {ABI_VERSION}; "
            "build the bundle with the same version of nisse"
        )
    signer = _check_signature(directory, shown, message, trusted_keys)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise BundleMalformedError(f"{shown}: {where}: {first['msg']}; build the bundle again") from error
    _check_files(directory, shown, manifest)
    theta = _read_theta(_parse_json(_read(directory, THETA, shown), THETA, shown), manifest, shown)
    certificate = _parse_json(_read(directory, CERTIFICATE, shown), CERTIFICATE, shown)
    return Bundle(
        directory=directory,
        manifest=manifest,
        theta=theta,
        certificate=certificate,
        library_path=_library(directory, shown, manifest, arch),
        signer=signer,
        digest=hashlib.sha256(message).hexdigest(),
    )


def _check_signature(directory: Path, shown: Path, message: bytes, trusted_keys: Sequence[str] | None) -> str:
    if not (directory / SIGNATURE).is_file():
        raise BundleUnsignedError(
            f"{shown}: not signed, and a bundle holds native code; sign it with `nisse build --key`"
        )
    document = _parse_json(_read(directory, SIGNATURE, shown), SIGNATURE, shown)
    signer, encoded = document.get("key"), document.get("signature")
    if not isinstance(signer, str) or not isinstance(encoded, str):
        raise BundleUnsignedError(
            f"{shown}: the signature file holds no key and signature; sign it with `nisse build --key`"
        )
    if trusted_keys is not None and signer not in trusted_keys:
        raise BundleUntrustedError(
            f"{shown}: signed by {signer}, which this site does not trust; if it is yours, add it to trusted_keys"
        )
    try:
        valid = is_signed_by(signer, base64.b64decode(encoded, validate=True), message)
    except (binascii.Error, ValueError, KeyFileError):
        valid = False
    if not valid:
        raise BundleTamperedError(
            f"{shown}: its signature does not fit the manifest: altered or damaged; copy it again from its builder"
        )
    return signer


def _check_files(directory: Path, shown: Path, manifest: Manifest) -> None:
    present = set(files_in(directory)) - {MANIFEST, SIGNATURE}
    for name in sorted(present - set(manifest.files)):
        raise BundleTamperedError(f"{shown}: holds {name}, which its manifest does not name; copy the bundle again")
    for name, expected in manifest.files.items():
        if name not in present:
            raise BundleMissingError(f"{shown}: lacks {name}; copy the bundle again from its builder")
        if _sha256(directory / name) != expected:
            raise BundleTamperedError(
                f"{shown}: {name} is not what was signed: altered or damaged; copy the bundle again from its builder"
            )


def _library(directory: Path, shown: Path, manifest: Manifest, arch: str | None) -> Path | None:
    if arch == "any":
        return None
    wanted = arch or platform.machine()
    name = f"lib/{wanted}/{LIBRARY}"
    if name not in manifest.files:
        found = sorted(PurePosixPath(path).parts[1] for path in manifest.files if path.endswith("/" + LIBRARY))
        raise BundleArchError(
            f"{shown}: no library for {wanted}, only for {', '.join(found) or 'none'}; "
            f"build one with: nisse build --target {wanted}"
        )
    return (directory / name).absolute()


def _theta_document(manifest: Manifest, values: Mapping[str, float]) -> dict[str, Any]:
    return {
        spec.name: {"value": values[spec.name], "unit": spec.unit, "lower": spec.lower, "upper": spec.upper}
        for spec in manifest.theta
    }


def _read_theta(document: dict[str, Any], manifest: Manifest, shown: Path) -> dict[str, float]:
    try:
        values = {name: float(entry["value"]) for name, entry in document.items()}
        check_theta(manifest.theta, values)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleMalformedError(f"{shown}: {THETA}: {error}; build the bundle again") from error
    return {spec.name: values[spec.name] for spec in manifest.theta}


def _read(directory: Path, name: str, shown: Path) -> bytes:
    file = directory / name
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise BundleMalformedError(
                f"{shown}: {name} is larger than {MAX_JSON_BYTES >> 20} MB; build the bundle again"
            )
        return file.read_bytes()
    except OSError as error:
        raise BundleMissingError(f"{shown}: {name}: {error.strerror}; this is no complete bundle") from error


def _parse_json(data: bytes, name: str, shown: Path) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleTamperedError(f"{shown}: {name} is not JSON: damaged; copy the bundle again") from None
    if not isinstance(document, dict):
        raise BundleMalformedError(f"{shown}: {name} is not a JSON object; build the bundle again")
    return document


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _sha256(file: Path) -> str:
    if file.is_symlink():
        return "a symbolic link"
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace_directory(new: Path, final: Path) -> None:
    """Put `new` where `final` is; an older one is moved aside first and removed after."""
    old = final.with_name(f".{final.name}.old.{os.getpid()}")
    if final.exists():
        final.rename(old)
    try:
        new.rename(final)
    except OSError as error:
        if old.exists():
            old.rename(final)
        raise BundleError(f"{final}: cannot be written ({error.strerror}); check the folder") from error
    shutil.rmtree(old, ignore_errors=True)
