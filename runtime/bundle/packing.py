"""A bundle as one file for transport: a gzipped tar that only ever looks as `pack` writes it.

The reader knows no more of tar than that: every header must be, byte for byte, the one that `pack` writes for a file of
that name and size. So there are no links, devices, sparse files, long names or extended headers to be led astray by.
The manifest comes first and its signature next, so that both can be checked before anything is unpacked; in a bundle
from before that order the signature is looked for, within the same bounds.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from runtime.errors import BundleMalformedError, BundleMissingError, BundleTamperedError
from runtime.formats.plain_files import CHUNK_BYTES, PlainFile, entries_below, new_file, read_inside

MANIFEST, SIGNATURE = "manifest.json", "signature"
MAX_PACKED_BYTES = 64 << 20
MAX_BUNDLE_BYTES = 128 << 20
MAX_MANIFEST_BYTES = 4 << 20
MAX_SIGNATURE_BYTES = 1 << 12
MAX_FILES = 4096
# Deflate, no name, no time, best compression, unknown system: the one part of a gzip file that its CRC does not cover.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
_BLOCK = 512
_SIZE = re.compile(rb"[0-7]{11}\0")
_FIRST = {MANIFEST: 0, SIGNATURE: 1}


def pack(directory: Path, file: Path) -> Path:
    """Pack a bundle directory into one file; the same bundle gives the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(entries_below(directory, MAX_FILES), key=lambda path: (_FIRST.get(path, 2), path)):
            data = read_inside(directory, path, MAX_BUNDLE_BYTES)
            tar.addfile(_entry(path, len(data)), io.BytesIO(data))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(buffer.getvalue())
    partial.replace(file)
    return file


def read_head(file: PlainFile, shown: Path) -> tuple[bytes, bytes | None]:
    """Manifest and signature of a packed bundle, as they stand there; None for a signature that is missing.

    Raises BundleMalformedError for what is no packed bundle, BundleTamperedError for a damaged one.
    """
    found: dict[str, bytes] = {}
    for name, size, data in _entries(file, shown):
        if not found and name != MANIFEST:
            raise BundleMalformedError(f"{shown}: begins with {name}, not with a manifest; not a packed bundle")
        if name in _FIRST:
            limit = MAX_MANIFEST_BYTES if name == MANIFEST else MAX_SIGNATURE_BYTES
            if size > limit or name in found:
                raise BundleMalformedError(f"{shown}: its {name} is too large or there twice; build the bundle again")
            found[name] = b"".join(data)
        if len(found) == len(_FIRST):
            break
    if MANIFEST not in found:
        raise BundleMalformedError(f"{shown}: is empty; not a packed bundle")
    return found[MANIFEST], found.get(SIGNATURE)


def read_manifest(file: PlainFile, shown: Path) -> bytes:
    """The first file alone, of which nothing is known; raises as `read_head`."""
    for name, size, data in _entries(file, shown):
        if name == MANIFEST and size <= MAX_MANIFEST_BYTES:
            return b"".join(data)
        break
    raise BundleMalformedError(f"{shown}: does not begin with a manifest; not a packed bundle")


def unpack(file: PlainFile, shown: Path, target: Path | None, hashes: Mapping[str, str]) -> None:
    """Unpack into the empty folder `target`: the files of `hashes` (path -> SHA-256), manifest and signature.

    None for `target` only looks whether it could be done. A file that is not among them, is there twice or is not what
    its hash says ends it at once. What was written is on the disk, not only on its way there.

    Raises as `read_head`, and OSError where `target` cannot be written.
    """
    seen: set[str] = set()
    for name, _, data in _entries(file, shown):
        if name in seen:
            raise BundleTamperedError(f"{shown}: holds {name} twice; copy the bundle again from its builder")
        if name not in hashes and name not in _FIRST:
            raise BundleTamperedError(f"{shown}: holds {name}, which its manifest does not name; copy the bundle again")
        seen.add(name)
        digest = hashlib.sha256()
        with contextlib.ExitStack() as stack:
            out = None if target is None else stack.enter_context(new_file(target / inside(name)))
            for piece in data:
                digest.update(piece)
                if out is not None:
                    out.write(piece)
        if name in hashes and digest.hexdigest() != hashes[name]:
            raise BundleTamperedError(f"{shown}: {name} is not what was signed: altered or damaged; copy it again")
    for name in sorted(set(hashes) - seen):
        raise BundleMissingError(f"{shown}: lacks {name}; copy the bundle again from its builder")


def inside(name: str) -> PurePosixPath:
    """`name` as a path inside a bundle. Raises BundleMalformedError if it leads out of it."""
    path = PurePosixPath(name)
    plain = name.isascii() and name.isprintable() and "\\" not in name and str(path) == name
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise BundleMalformedError(f"{name!r} is not a path inside a bundle; build the bundle again")
    return path


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, 0
    return entry


def _entries(file: PlainFile, shown: Path) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """(name, size, content) of every file, in order; the content must be taken before the next one.

    Raises BundleMalformedError and BundleTamperedError, the latter also at the very end, where the CRC is.
    """
    take = _unzipped(file, shown)
    total = count = at = 0
    while (header := take(_BLOCK)) != bytes(_BLOCK):
        name, size = _parsed(header, shown)
        total, count = total + size, count + 1
        if total > MAX_BUNDLE_BYTES or count > MAX_FILES:
            raise BundleMalformedError(
                f"{shown}: unpacks to over {MAX_BUNDLE_BYTES >> 20} MB or {MAX_FILES} files; not a bundle"
            )
        left = size

        def content(size: int = size) -> Iterator[bytes]:
            nonlocal left
            while left:
                piece = take(min(left, CHUNK_BYTES))
                left -= len(piece)
                yield piece

        yield name, size, content()
        for _ in content():  # whoever asked for the name only
            pass
        if any(take(-size % _BLOCK)):
            raise BundleTamperedError(f"{shown}: damaged (padding of {name}); copy the bundle again from its builder")
        at += _BLOCK + size + -size % _BLOCK
    # The end of a tar: two blocks of zeros, the first of which is taken, and zeros up to a full record.
    at += 2 * _BLOCK
    if any(take(_BLOCK + -at % tarfile.RECORDSIZE)) or take(-1):
        raise BundleTamperedError(f"{shown}: damaged (more after its end); copy the bundle again from its builder")


def _parsed(header: bytes, shown: Path) -> tuple[str, int]:
    name, prefix = (header[a:b].rstrip(b"\0") for a, b in ((0, 100), (345, 500)))
    full = prefix + b"/" + name if prefix else name
    if full.isascii() and _SIZE.fullmatch(header[124:136]):
        text, size = full.decode("ascii"), int(header[124:135], 8)
        inside(text)
        if size <= MAX_BUNDLE_BYTES and header == _entry(text, size).tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"):
            return text, size
    raise BundleMalformedError(
        f"{shown}: holds what `nisse build` does not write (a link, a long name, a sparse file) or is damaged; "
        "build the bundle again"
    )


def _unzipped(file: PlainFile, shown: Path) -> Callable[[int], bytes]:
    """take(n): exactly n bytes of the unpacked stream; take(-1): nothing, for here it ends, CRC and all.

    Raises BundleTamperedError when there is less, or when the file or the stream goes on where it should end.
    """
    file.rewind()
    if file.read(len(GZIP_HEADER)) != GZIP_HEADER:
        raise BundleMalformedError(f"{shown}: not a packed bundle; `nisse build` writes one")
    inflate = zlib.decompressobj(wbits=31)
    inflate.decompress(GZIP_HEADER)
    buffer = bytearray()

    def more(count: int) -> bool:
        """Unpack up to `count` bytes more; False at the end."""
        while not inflate.eof:
            data = inflate.unconsumed_tail or file.read(CHUNK_BYTES)
            piece = inflate.decompress(data, count)
            if piece:
                buffer.extend(piece)
                return True
            if not data:
                raise EOFError("it ends too early")
        return False

    def take(count: int) -> bytes:
        try:
            wanted = abs(count)
            while len(buffer) < wanted and more(max(_BLOCK, wanted - len(buffer))):
                pass
            if count < 0 and (buffer or not inflate.eof or inflate.unused_data or file.read(1)):
                raise EOFError("more after its end")
        except (EOFError, OSError, zlib.error) as error:
            raise BundleTamperedError(f"{shown}: damaged ({error}); copy the bundle again from its builder") from error
        if count >= 0 and len(buffer) < count:
            raise BundleTamperedError(f"{shown}: damaged (it ends too early); copy the bundle again from its builder")
        taken = bytes(buffer[: max(count, 0)])
        del buffer[: len(taken)]
        return taken

    return take
