"""Whatever turns up where a bundle, a theta update, a site file, a key or a secret belongs costs next to nothing."""

from __future__ import annotations

import gzip
import io
import os
import platform
import resource
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_files import NOT_FILES, PACKED
from tiny_site import tiny_manifest

from runtime import errors
from runtime.bundle.archive import LIBRARY, open_bundle, pack, write_bundle
from runtime.bundle.keys import SigningKey, load_key
from runtime.bundle.theta_update import with_update, write_update
from runtime.formats.plain_files import UnfitFileError, entries_below, open_plain, read_inside, read_plain
from runtime.publish.operator_view import peek_digest
from runtime.publish.status_file import StatusError, read_status
from runtime.site.config import MqttSection, load_site
from runtime.site.credentials import tls_context

MEMORY_BYTES = 96 << 20


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    files = {f"lib/{platform.machine()}/{LIBRARY}": b"\x7fELF not really" * 9000, "licenses/acados": b"BSD"}
    return write_bundle(tmp_path_factory.mktemp("good") / "tiny", tiny_manifest(), files, {"gain": 0.5}, {}, key)


@pytest.fixture(scope="module")
def good(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pack(directory, tmp_path_factory.mktemp("packed") / "good.nisse").read_bytes()


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more address space than there is plus MEMORY_BYTES, and half a minute."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_AS: held + MEMORY_BYTES}
    before = {which: resource.getrlimit(which) for which in limits}
    for which, limit in limits.items():
        resource.setrlimit(which, (limit, before[which][1]))
    late = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("still at it after half a minute"))
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, late)
    for which, pair in before.items():
        resource.setrlimit(which, pair)


def refused(path: Path, cache: Path, key: SigningKey) -> None:
    with pytest.raises(errors.BundleError) as caught:
        open_bundle(path, [key.public], unpack_dir=cache)
    assert caught.value.exit_code == 65 and "\n" not in str(caught.value)
    assert not cache.exists() or list(cache.iterdir()) == []
    peek_digest(path)  # neither hangs nor raises


@pytest.mark.parametrize("kind", sorted(NOT_FILES))
def test_what_is_no_file_is_refused_by_every_reader(
    tmp_path: Path, directory: Path, key: SigningKey, little_memory: None, kind: str
) -> None:
    place = tmp_path / "there"
    NOT_FILES[kind](place)
    refused(place, tmp_path / "cache", key)
    bundle = open_bundle(directory, [key.public])
    readers: list[tuple[type[Exception], Callable[[], object]]] = [
        (errors.BundleError, lambda: with_update(bundle, place, [key.public])),
        (errors.ConfigError, lambda: load_site(place)),
        (errors.KeyFileError, lambda: load_key(place)),
        (errors.ConfigError, lambda: tls_context(MqttSection(tls=True, ca_file=place))),
        (errors.ConfigError, lambda: tls_context(MqttSection(tls=True, cert_file=place, key_file=place))),
        (StatusError, lambda: read_status(place)),
    ]
    for error, read in readers:
        with pytest.raises(error) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(PACKED))
def test_what_pack_does_not_write_is_refused_before_it_is_unpacked(
    tmp_path: Path, good: bytes, key: SigningKey, kind: str, request: pytest.FixtureRequest
) -> None:
    place = tmp_path / "there.nisse"
    place.write_bytes(PACKED[kind](good))
    request.getfixturevalue("little_memory")  # making a bomb takes its time
    refused(place, tmp_path / "cache", key)
    assert not (tmp_path / "out").exists() and not Path("/tmp/out").exists()


def test_nothing_is_unpacked_of_what_a_stranger_signed(
    tmp_path: Path, good: bytes, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed in all order, by a key that the site does not trust: no byte of it reaches a parser or the disk."""
    place = tmp_path / "there.nisse"
    place.write_bytes(good)
    monkeypatch.setattr("runtime.bundle.archive.json.loads", lambda *_: pytest.fail("parsed"))
    with pytest.raises(errors.BundleUntrustedError):
        open_bundle(place, ["ed25519:" + "A" * 43 + "="], unpack_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_bundle_from_before_is_read_whose_signature_comes_late(
    tmp_path: Path, directory: Path, key: SigningKey
) -> None:
    buffer = io.BytesIO()
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted(names, key=lambda name: (name != "manifest.json", name)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = (directory / name).stat().st_size, 0o644, 0
            tar.addfile(entry, io.BytesIO((directory / name).read_bytes()))
    place = tmp_path / "before.nisse"
    place.write_bytes(buffer.getvalue())
    assert open_bundle(place, [key.public], unpack_dir=tmp_path / "c").digest == open_bundle(directory, None).digest


def test_a_file_is_read_as_it_was_when_it_was_looked_at(tmp_path: Path, directory: Path) -> None:
    """Replaced or grown between check and use: the bytes are those of the file that was checked, and no more."""
    place = tmp_path / "f"
    place.write_bytes(b"before")
    with open_plain(place, 100) as file:
        place.unlink()
        os.mkfifo(place)
        assert b"".join(file.chunks()) == b"before"
    place.unlink()
    place.write_bytes(b"before")
    with open_plain(place, 100) as file:
        with place.open("ab") as more:
            more.write(b" and after")
        assert b"".join(file.chunks()) == b"before"
    with pytest.raises(UnfitFileError, match="larger than"):
        read_plain(place, 10)
    with pytest.raises(UnfitFileError, match="more than 1 files"):
        entries_below(directory, 1)
    # Links: to a plain file, where the name is the operator's; never inside a bundle.
    (tmp_path / "link").symlink_to("f")
    assert read_plain(tmp_path / "link", 100) == b"before and after"
    (tmp_path / "folder").symlink_to(".")
    for name in ("link", "folder/f"):
        with pytest.raises(OSError):
            read_inside(tmp_path, name, 100)


def test_a_theta_update_is_not_parsed_before_its_signature_is_known(
    tmp_path: Path, directory: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(directory, [key.public])
    file = write_update(tmp_path / "new.theta", bundle, {"gain": 1.5}, key)
    message, seal = file.read_bytes().splitlines()
    monkeypatch.setattr("runtime.bundle.theta_update.json.loads", lambda *_: pytest.fail("parsed"))
    for bad in (message, b"[" * 100_000 + b"\n" + seal, message + b"\n" + b"[" * 100_000, message + b" \n" + seal):
        file.write_bytes(bad + b"\n")
        begun = time.monotonic()
        with pytest.raises(errors.BundleError):
            with_update(bundle, file, [key.public])
        assert time.monotonic() - begun < 5.0
