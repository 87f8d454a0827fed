"""What may turn up where a file of the site is expected: each maker puts one such thing at a path."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from runtime.bundle.packing import GZIP_HEADER

LONG_NAME = tarfile.GNUTYPE_LONGNAME


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path.name)
    os.chdir(here)


def _sparse(path: Path, begin: bytes = b"") -> None:
    path.write_bytes(begin)
    os.truncate(path, 2 << 30)


def _folder_with(path: Path, make: Callable[[Path], None]) -> None:
    path.mkdir()
    make(path / "manifest.json")
    (path / "signature").write_text("{}")


def _linked_fifo(path: Path) -> None:
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))


NOT_FILES: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "link to a fifo": _linked_fifo,
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "kernel's log": lambda path: path.symlink_to("/proc/kmsg"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "sparse 2 GB": _sparse,
    "sparse 2 GB that looks packed": lambda path: _sparse(path, GZIP_HEADER),
    "nothing in it": Path.touch,
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 400) and None,
    "empty folder": Path.mkdir,
    "folder with a fifo": lambda path: _folder_with(path, os.mkfifo),
    "folder with a link to a device": lambda path: _folder_with(path, lambda p: p.symlink_to("/dev/zero")),
    "folder with a sparse file": lambda path: _folder_with(path, _sparse),
    "folder that leads to itself": lambda path: (path.mkdir(), (path / "lib").symlink_to(path))[1],
}


def _tarred(*members: tuple[tarfile.TarInfo, bytes], style: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as tar:
        for entry, data in members:
            tar.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return buffer.getvalue()


def _member(
    name: str, data: bytes = b"{}", kind: bytes = tarfile.REGTYPE, **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime, entry.size = kind, 0o644, 0, len(data) if kind == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(entry, key, value)
    return entry, data


def _zipped(data: bytes, after: bytes = b"") -> bytes:
    """As `pack` zips, header and all."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    return GZIP_HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF) + after


def _bomb(head: bytes, size: int = 200 << 20) -> bytes:
    """`head`, then `size` zeros, more than may be held in memory or unpacked."""
    deflate, crc = zlib.compressobj(1, zlib.DEFLATED, -15), zlib.crc32(head)
    out = [deflate.compress(head)]
    block = bytes(1 << 20)
    for _ in range(size >> 20):
        out.append(deflate.compress(block))
        crc = zlib.crc32(block, crc)
    out.append(deflate.flush())
    return GZIP_HEADER + b"".join(out) + struct.pack("<II", crc, (len(head) + size) & 0xFFFFFFFF)


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = _member(name)[0]
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def _inside(good: bytes) -> bytes:
    return gzip.decompress(good)


def _before_its_end(good: bytes, more: bytes) -> bytes:
    """A good bundle's tar with `more` after its last file."""
    tar = _inside(good)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        last = opened.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    return _zipped(tar[:end] + more + bytes(tarfile.RECORDSIZE))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "sparse map of letters": lambda good: _zipped(
        _tarred(_member("manifest.json", pax_headers={"GNU.sparse.map": "a,b"}))
    ),
    "sparse map after a good start": lambda good: _before_its_end(
        good, _tarred(_member("more", pax_headers={"GNU.sparse.map": "a,b", "GNU.sparse.size": "9"}))
    ),
    "long name of 2 GB": lambda good: _zipped(_header("././@LongLink", 2 << 30, LONG_NAME) + bytes(1024)),
    "long name of 2 GB, all there": lambda good: _bomb(_header("././@LongLink", 2 << 30, LONG_NAME)),
    "extended header of 2 GB": lambda good: _bomb(_header("x", 2 << 30, tarfile.XHDTYPE)),
    "extended header": lambda good: _zipped(_tarred(_member("manifest.json", pax_headers={"comment": "x"}))),
    "manifest of 2 GB": lambda good: _bomb(_header("manifest.json", 2 << 30)),
    "manifest of 100 MB": lambda good: _bomb(_header("manifest.json", 100 << 20), 100 << 20),
    "other first": lambda good: _zipped(_tarred(_member("a"), style=tarfile.USTAR_FORMAT)),
    "unsigned": lambda good: _zipped(_tarred(_member("manifest.json"), style=tarfile.USTAR_FORMAT)),
    "link": lambda good: _before_its_end(good, _tarred(_member("l", kind=tarfile.SYMTYPE, linkname="/etc/passwd"))),
    "hard link": lambda good: _before_its_end(good, _tarred(_member("l", kind=tarfile.LNKTYPE, linkname="a"))),
    "device": lambda good: _before_its_end(good, _tarred(_member("d", kind=tarfile.CHRTYPE))),
    "fifo": lambda good: _before_its_end(good, _tarred(_member("f", kind=tarfile.FIFOTYPE))),
    "folder": lambda good: _before_its_end(good, _tarred(_member("d", kind=tarfile.DIRTYPE))),
    "leads out": lambda good: _before_its_end(good, _tarred(_member("../out"), style=tarfile.USTAR_FORMAT)),
    "absolute": lambda good: _before_its_end(good, _tarred(_member("/tmp/out"), style=tarfile.USTAR_FORMAT)),
    "not named": lambda good: _before_its_end(good, _tarred(_member("more"), style=tarfile.USTAR_FORMAT)),
    "there twice": lambda good: _before_its_end(good, _tarred(_member("theta.json"), style=tarfile.USTAR_FORMAT)),
    "manifest twice": lambda good: _before_its_end(good, _tarred(_member("manifest.json"), style=tarfile.USTAR_FORMAT)),
    "executable": lambda good: _before_its_end(good, _tarred(_member("x", mode=0o4755), style=tarfile.USTAR_FORMAT)),
    "bomb after a good start": lambda good: _bomb(_inside(good)[:-1024]),
    "bomb after its end": lambda good: _bomb(_inside(good)),
    "bomb in an unnamed file": lambda good: _bomb(
        _inside(_before_its_end(good, b""))[: -tarfile.RECORDSIZE] + _header("more", 100 << 20), 100 << 20
    ),
    "second stream": lambda good: good + _zipped(b"more"),
    "bytes after its end": lambda good: good + b"\0",
    "ends too early": lambda good: good[:-9],
    "CRC wrong": lambda good: good[:-8] + bytes([good[-8] ^ 1]) + good[-7:],
    "no end": lambda good: _zipped(_inside(good)[: -tarfile.RECORDSIZE]),
}
