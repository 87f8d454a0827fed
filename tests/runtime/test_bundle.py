"""A bundle comes back as it was written, and is refused when anything about it is not as its signer left it."""

from __future__ import annotations

import gzip
import json
import platform
import zlib
from pathlib import Path

import pytest

from runtime import errors
from runtime.bundle.archive import LIBRARY, Bundle, Manifest, ParameterSpec, SignalSpec, open_bundle, pack, write_bundle
from runtime.bundle.keys import SigningKey, load_key, new_key
from runtime.bundle.signature import seal

ARCH = platform.machine()
MANIFEST = Manifest(
    name="one state",
    system="tiny",
    dt_s=60,
    horizon=4,
    discount=1.0,
    states=(SignalSpec(name="level", unit="m", lower=0, upper=1),),
    actions=(SignalSpec(name="inflow", unit="m3/s", lower=-1, upper=1),),
    forecasts=(SignalSpec(name="outflow", unit="m3/s", lower=0, upper=1),),
    theta=(ParameterSpec(name="gain", unit="1", lower=0, upper=2),),
    created="2026-01-01T00:00:00Z",
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return new_key(tmp_path / "key.pem")


@pytest.fixture
def directory(tmp_path: Path, key: SigningKey) -> Path:
    files = {f"lib/{ARCH}/{LIBRARY}": b"\x7fELF not really", "licenses/acados": b"BSD"}
    return write_bundle(tmp_path / "tiny", MANIFEST, files, {"gain": 0.5}, {"passed": True}, key)


def check(bundle: Bundle, key: SigningKey) -> None:
    assert bundle.theta == {"gain": 0.5}
    assert bundle.certificate == {"passed": True}
    assert bundle.manifest.model_copy(update={"files": {}}) == MANIFEST
    assert bundle.library_path is not None and bundle.library_path.read_bytes() == b"\x7fELF not really"
    assert bundle.signer == key.public


def test_round_trip_as_directory_and_as_packed_file(tmp_path: Path, directory: Path, key: SigningKey) -> None:
    check(open_bundle(directory, [key.public]), key)
    packed = pack(directory, tmp_path / "tiny.nisse")
    check(open_bundle(packed, [key.public], unpack_dir=tmp_path / "cache"), key)
    check(open_bundle(packed, [key.public], unpack_dir=tmp_path / "cache"), key)
    assert pack(directory, tmp_path / "again.nisse").read_bytes() == packed.read_bytes()


def test_a_packed_bundle_may_end_anywhere_in_a_record(tmp_path: Path, key: SigningKey) -> None:
    """A tar ends with zeros up to a full record: from 512 to 10,240 bytes of them follow the first block."""
    for blocks in range(21):
        files = {f"lib/{ARCH}/{LIBRARY}": b"\x7fELF not really", "src/more": bytes(512 * blocks)}
        directory = write_bundle(tmp_path / f"{blocks}", MANIFEST, files, {"gain": 0.5}, {"passed": True}, key)
        packed = pack(directory, tmp_path / f"{blocks}.nisse")
        check(open_bundle(packed, [key.public], unpack_dir=tmp_path / "cache"), key)


def test_every_file_is_covered_by_the_signature(directory: Path, key: SigningKey) -> None:
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        good = file.read_bytes()
        for position in {0, len(good) // 2, len(good) - 2}:
            file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            with pytest.raises(errors.BundleError) as caught:
                open_bundle(directory, [key.public])
            assert caught.value.exit_code == 65
            assert "\n" not in str(caught.value)
        file.write_bytes(good)
    open_bundle(directory, [key.public])


def unzipped(data: bytes) -> bytes | None:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None


def test_a_damaged_packed_file_is_refused_and_leaves_nothing(tmp_path: Path, directory: Path, key: SigningKey) -> None:
    packed = pack(directory, tmp_path / "tiny.nisse")
    good = packed.read_bytes()
    for position in {*range(12), *range(12, len(good), 31), len(good) - 5, len(good) - 1}:
        damaged = good[:position] + bytes([good[position] ^ 0x40]) + good[position + 1 :]
        if position >= 12 and unzipped(damaged) == unzipped(good):
            continue  # a bit that fills up a block of the stream and belongs to nothing
        packed.write_bytes(damaged)
        with pytest.raises(errors.BundleError):
            open_bundle(packed, [key.public], unpack_dir=tmp_path / "cache")
    packed.write_bytes(good[: len(good) // 2])
    with pytest.raises(errors.BundleError):
        open_bundle(packed, [key.public], unpack_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_additional_file_is_refused(directory: Path, key: SigningKey) -> None:
    (directory / "lib" / ARCH / "libm.so.6").write_bytes(b"found by $ORIGIN before the system's")
    with pytest.raises(errors.BundleTamperedError, match="does not name"):
        open_bundle(directory, [key.public])


def test_unsigned_untrusted_and_foreign_signatures(tmp_path: Path, directory: Path, key: SigningKey) -> None:
    other = new_key(tmp_path / "other.pem")
    with pytest.raises(errors.BundleUntrustedError, match="trusted_keys"):
        open_bundle(directory, [other.public])
    signature = json.loads((directory / "signature").read_text())
    (directory / "signature").write_text(json.dumps({**signature, "key": other.public}))
    with pytest.raises(errors.BundleTamperedError, match="signature"):
        open_bundle(directory, [key.public, other.public])
    (directory / "signature").unlink()
    with pytest.raises(errors.BundleUnsignedError):
        open_bundle(directory, [key.public])


def test_a_newer_format_is_named_once_its_signature_is_known(directory: Path, key: SigningKey) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    newer = json.dumps({**manifest, "format_version": 4, "novel": 1}).encode()
    (directory / "manifest.json").write_bytes(newer)
    with pytest.raises(errors.BundleTamperedError):
        open_bundle(directory, [key.public])
    (directory / "signature").write_bytes(seal(newer, key))
    with pytest.raises(errors.BundleFormatError, match="update nisse"):
        open_bundle(directory, [key.public])


def test_wrong_arch_names_what_there_is(directory: Path, key: SigningKey) -> None:
    with pytest.raises(errors.BundleArchError, match=f"riscv64, only for {ARCH}"):
        open_bundle(directory, [key.public], arch="riscv64")


def test_theta_must_fit_and_nothing_is_left_half_written(tmp_path: Path, key: SigningKey) -> None:
    for theta in ({}, {"gain": 3.0}, {"gain": float("nan")}, {"gain": 1.0, "more": 1.0}):
        with pytest.raises(errors.BundleMalformedError):
            write_bundle(tmp_path / "bad", MANIFEST, {}, theta, {}, key)
    with pytest.raises(errors.BundleMalformedError):
        write_bundle(tmp_path / "bad", MANIFEST, {"../escape": b""}, {"gain": 1.0}, {}, key)
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_keys_are_private_kept_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.pem"
    key = new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public == key.public
    with pytest.raises(errors.KeyFileError, match="not replaced"):
        new_key(path)
    path.write_text("not a key")
    with pytest.raises(errors.KeyFileError, match="nisse key new"):
        load_key(path)
