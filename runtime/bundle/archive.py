"""The controller bundle: written, signed, packed, opened; an unsigned, altered or foreign one is refused.

A bundle holds native code. So every byte that reaches the loader is covered: the signature covers the manifest, the
manifest every other file, and a file that the manifest does not name is refused as well.

    manifest.json  theta.json  certificate.json  signature  lib/<arch>/libnisse_controller.so  src/  licenses/
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runtime.bundle.manifest import (
    ABI_VERSION,
    FORMAT_VERSION,
    ActionLimit,
    DirectEstimator,
    Manifest,
    ParameterSpec,
    SignalSpec,
)
from runtime.bundle.packing import (
    MANIFEST,
    MAX_BUNDLE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_PACKED_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE,
    inside,
    pack,
    read_head,
    unpack,
)
from runtime.bundle.safety_set import SafetySet, StateLimit
from runtime.bundle.serials import Stamp, stamp
from runtime.bundle.signature import checked_signature, seal
from runtime.bundle.theta_values import check_theta
from runtime.errors import (
    BundleArchError,
    BundleError,
    BundleFormatError,
    BundleMalformedError,
    BundleMissingError,
    BundleTamperedError,
)
from runtime.formats.plain_files import (
    UnfitFileError,
    entries_below,
    new_file,
    open_inside,
    open_plain,
    read_inside,
    replace_folder,
)

if TYPE_CHECKING:
    from runtime.bundle.keys import SigningKey

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

THETA, CERTIFICATE = "theta.json", "certificate.json"
LIBRARY = "libnisse_controller.so"
MAX_JSON_BYTES = 4 << 20
# Folders that are being filled; whoever is killed meanwhile leaves one behind.
STAGING_PREFIX = ".unpack."


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
    theta_stamp: Stamp | None = None
    """Of the theta update in force; None while theta is the bundle's own."""

    @property
    def theta_digest(self) -> str:
        """SHA-256 of the theta update in force; empty while theta is the bundle's own."""
        return "" if self.theta_stamp is None else self.theta_stamp.digest

    @property
    def stamp(self) -> Stamp:
        """Which bundle it is, and how new."""
        return stamp(self.digest, self.manifest.serial, self.manifest.created)

    @property
    def identity(self) -> str:
        """What decides: the bundle, and the theta update if there is one."""
        return self.digest[:16] + (f"+{self.theta_digest[:16]}" if self.theta_digest else "")

    @property
    def library_hashes(self) -> dict[str, str]:
        """File name -> SHA-256 of the library and of those beside it that it needs."""
        folder = self.library_or_fail().relative_to(self.directory.absolute()).parent.as_posix()
        files = [(PurePosixPath(path), sha) for path, sha in self.manifest.files.items()]
        return {path.name: sha for path, sha in files if path.parent.as_posix() == folder}

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
        (staging / SIGNATURE).write_bytes(seal(message, private_key))
        replace_folder(staging, directory)
    except OSError as error:
        raise BundleError(f"{directory}: cannot be written ({error}); check the folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory


def open_bundle(
    path: Path, trusted_keys: Sequence[str] | None, arch: str | None = None, unpack_dir: Path | None = None
) -> Bundle:
    """Verify a bundle (directory or packed file) and return it; raises a BundleError that says why not.

    Of what stands at `path` nothing is read before it is known to be a plain file, or a folder of such, of bounded
    size, and nothing is unpacked or parsed before its signature is known to be good.

    trusted_keys: public keys; None accepts any signer (for tools on the build machine, never for the daemon).
    arch: as `platform.machine()`, whose value is the default; "any" asks for no library.
    unpack_dir: where a packed bundle is unpacked to, under its digest; by default beside the file.
    """
    path = Path(path)
    root = unpack_dir if unpack_dir is not None else path.parent / f".{path.name}.unpacked"
    try:
        if path.is_dir():
            return _verify(path, path, trusted_keys, arch)
        with open_plain(path, MAX_PACKED_BYTES) as file:
            message, found = read_head(file, path)
            checked_signature(message, found, path, trusted_keys)
            manifest = _manifest(message, path)

            def fill(staging: Path | None) -> None:
                unpack(file, path, staging, manifest.files)

            return _placed(root, hashlib.sha256(message).hexdigest(), fill, path, trusted_keys, arch)
    except UnfitFileError as error:
        raise BundleMalformedError(f"{path}: {error.strerror}; put the file there that `nisse build` wrote") from error
    except OSError as error:
        raise BundleMissingError(
            f"{path}: no bundle can be read there ({error.strerror}); `nisse build` writes one"
        ) from error


def take_copy(bundle: Bundle, root: Path, trusted_keys: Sequence[str]) -> Bundle:
    """A copy of an opened bundle under `root`, named by its digest and verified again: nobody else writes there."""

    def fill(staging: Path | None) -> None:
        if staging is None:
            return
        for name in (*bundle.manifest.files, MANIFEST, SIGNATURE):
            with (
                open_inside(bundle.directory, name, MAX_BUNDLE_BYTES) as file,
                new_file(staging / inside(name)) as out,
            ):
                out.writelines(file.chunks())

    return _placed(root, bundle.digest, fill, bundle.directory, trusted_keys, None)


def _placed(
    root: Path,
    digest: str,
    fill: Callable[[Path | None], None],
    shown: Path,
    trusted_keys: Sequence[str] | None,
    arch: str | None,
) -> Bundle:
    """The bundle of that digest under `root`, put there by `fill` and verified there.

    One that is there already stays, since a daemon may work with it; `fill(None)` only looks at the source.
    """
    final = root / digest[:16]
    if _holds(final, digest, trusted_keys):
        fill(None)
    else:
        try:
            root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=root))
        except OSError as error:
            raise BundleMissingError(
                f"{root}: no copy of the bundle can be made here ({error.strerror}); make it writable, make room"
            ) from error
        try:
            staging.chmod(0o755)
            fill(staging)
            _verify(staging, shown, trusted_keys, "any")
            replace_folder(staging, final)
        except OSError as error:
            raise BundleMissingError(f"{root}: no copy of the bundle can be made here ({error}); make room") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return _verify(final, shown, trusted_keys, arch)


def _holds(directory: Path, digest: str, trusted_keys: Sequence[str] | None) -> bool:
    """Whether `directory` holds this bundle already, unaltered: a running daemon may work with it."""
    try:
        return _verify(directory, directory, trusted_keys, "any").digest == digest
    except BundleError:
        return False


def _verify(directory: Path, shown: Path, trusted_keys: Sequence[str] | None, arch: str | None) -> Bundle:
    message = _read(directory, MANIFEST, shown, MAX_MANIFEST_BYTES)
    try:
        found: bytes | None = _read(directory, SIGNATURE, shown, MAX_SIGNATURE_BYTES)
    except BundleMissingError:
        found = None
    signer = checked_signature(message, found, shown, trusted_keys)
    manifest = _manifest(message, shown)
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


def _manifest(message: bytes, shown: Path) -> Manifest:
    """What the manifest says, whose signature has been checked."""
    document = _parse_json(message, MANIFEST, shown)
    version = document.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        remedy = "update nisse" if isinstance(version, int) and version > FORMAT_VERSION else "build it again"
        raise BundleFormatError(
            f"{shown}: format version {version!r}, this nisse reads versions 1 to {FORMAT_VERSION}; {remedy}"
        )
    if document.get("abi_version") != ABI_VERSION:
        raise BundleFormatError(
            f"{shown}: controller ABI {document.get('abi_version')!r}, this nisse calls ABI {ABI_VERSION}; "
            "build the bundle with the same version of nisse"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or MANIFEST
        raise BundleMalformedError(f"{shown}: {where}: {first['msg']}; build the bundle again") from error


def _check_files(directory: Path, shown: Path, manifest: Manifest) -> None:
    try:
        present = set(entries_below(directory, MAX_FILES)) - {MANIFEST, SIGNATURE}
    except OSError as error:
        raise BundleMalformedError(f"{shown}: {error.strerror}; this is no bundle that nisse wrote") from error
    for name in sorted(present - set(manifest.files)):
        raise BundleTamperedError(f"{shown}: holds {name}, which its manifest does not name; copy the bundle again")
    left = MAX_BUNDLE_BYTES
    for name, expected in manifest.files.items():
        if name not in present:
            raise BundleMissingError(f"{shown}: lacks {name}; copy the bundle again from its builder")
        digest = hashlib.sha256()
        try:
            with open_inside(directory, name, left) as file:
                left -= file.size
                for piece in file.chunks():
                    digest.update(piece)
        except OSError as error:
            raise BundleTamperedError(f"{shown}: {name}: {error.strerror}; copy the bundle again") from error
        if digest.hexdigest() != expected:
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


def _read(directory: Path, name: str, shown: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    try:
        return read_inside(directory, name, max_bytes)
    except UnfitFileError as error:
        raise BundleMalformedError(f"{shown}: {name} is {error.strerror}; build the bundle again") from error
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
