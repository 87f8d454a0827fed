"""A bundle as one file for transport: a gzipped tar whose every meaningful bit is checked or fixed."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from runtime.errors import BundleMalformedError, BundleTamperedError

MANIFEST = "manifest.json"
MAX_BUNDLE_BYTES = 512 << 20
CHUNK_BYTES = 1 << 20
# Deflate, no name, no time, best compression, unknown system: the one part of a gzip file that its CRC does not cover.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


def pack(directory: Path, file: Path) -> Path:
    """Pack a bundle directory into one file; the same bundle gives the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(files_in(directory), key=lambda path: (path != MANIFEST, path)):
            data = (directory / path).read_bytes()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            tar.addfile(entry, io.BytesIO(data))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(buffer.getvalue())
    partial.replace(file)
    return file


def unpack(file: Path, target: Path) -> None:
    """Unpack into the empty folder `target`: plain files only, inside it, bounded in size.

    Raises BundleMalformedError for what is no packed bundle, BundleTamperedError for a damaged one.
    """
    try:
        with file.open("rb") as raw:
            if raw.read(len(GZIP_HEADER)) != GZIP_HEADER:
                raise BundleMalformedError(f"{file}: not a packed bundle; `nisse build` writes one")
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) as zipped:
                with tarfile.open(fileobj=zipped, mode="r|") as tar:
                    _extract(tar, file, target)
                while zipped.read(CHUNK_BYTES):  # to the end, where the CRC is
                    pass
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise BundleTamperedError(f"{file}: damaged ({error}); copy the bundle again from its builder") from error


def inside(name: str) -> PurePosixPath:
    """`name` as a path inside a bundle. Raises BundleMalformedError if it leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or "\0" in name:
        raise BundleMalformedError(f"{name!r} is not a path inside a bundle; build the bundle again")
    return path


def files_in(directory: Path) -> list[str]:
    """Every file and link below `directory`, relative, sorted."""
    paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(directory).as_posix() for path in paths)


def _extract(tar: tarfile.TarFile, file: Path, target: Path) -> None:
    total = 0
    for entry in tar:
        if not entry.isreg():
            raise BundleMalformedError(f"{file}: {entry.name} is not a plain file; build the bundle again")
        total += entry.size
        if total > MAX_BUNDLE_BYTES:
            raise BundleMalformedError(f"{file}: unpacks to over {MAX_BUNDLE_BYTES >> 20} MB; not a bundle")
        destination = target / inside(entry.name)
        destination.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(entry)
        assert source is not None  # a regular file
        with destination.open("wb") as out:
            shutil.copyfileobj(source, out, CHUNK_BYTES)
