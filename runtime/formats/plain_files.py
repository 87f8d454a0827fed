"""Files that somebody else put there: known to be plain and bounded in size before a byte of them is used.

A path may lead to a FIFO that nobody writes, to a device, to a file that grows. The kernel is asked what stands there
through a descriptor that opens nothing (O_PATH), and that very file is opened then: what was looked at is what is read,
whatever becomes of its name meanwhile, and no more of it than its size at that moment.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TextIO

CHUNK_BYTES = 1 << 18
MAX_FOLDER_DEPTH = 16
LARGEST_TEXT = 16 << 20
"""Of a file that a person wrote, or a program for persons."""
LARGEST_DATA = 2 << 30
"""Of one that a program wrote over years."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


class UnfitFileError(OSError):
    """What stands at the path is no plain file, or a larger one than was asked for; `strerror` says which."""


@dataclass
class PlainFile:
    """A plain file, open; `size` is what it was when it was opened, and no more is read."""

    stream: BinaryIO
    size: int
    _left: int = -1

    def __post_init__(self) -> None:
        self._left = self.size

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end. Raises OSError."""
        data = self.stream.read(min(count, self._left)) or b""  # None: nothing there yet, as in no plain file
        self._left -= len(data)
        return data

    def rewind(self) -> None:
        self.stream.seek(0)
        self._left = self.size

    def chunks(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        while data := self.read(CHUNK_BYTES):
            yield data


@contextlib.contextmanager
def open_plain(
    path: Path | str, max_bytes: int, *, follow: bool = True, folder: int | None = None
) -> Iterator[PlainFile]:
    """Open a plain file of at most `max_bytes` to read. Raises OSError; UnfitFileError for anything else.

    follow: whether the name may be a symbolic link (to a plain file). folder: descriptor that `path` counts from.
    """
    descriptor = _opened(path, follow, folder)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        size = _fit(os.fstat(descriptor), max_bytes)
        yield PlainFile(stream, size)


def read_plain(path: Path | str, max_bytes: int, *, follow: bool = True) -> bytes:
    """The content of a plain file of at most `max_bytes`. Raises OSError; UnfitFileError for anything else."""
    with open_plain(path, max_bytes, follow=follow) as file:
        return b"".join(file.chunks())


def read_text(path: Path | str, max_bytes: int = LARGEST_TEXT) -> str:
    """The same, UTF-8 with any line ends, without the byte order mark. Raises OSError and UnicodeDecodeError."""
    return read_plain(path, max_bytes).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def open_text(path: Path | str, max_bytes: int = LARGEST_DATA) -> Iterator[TextIO]:
    """The same to be read line by line, with the line ends it has, as `csv` wants it."""
    with (
        open_plain(path, max_bytes) as file,
        io.TextIOWrapper(io.BufferedReader(file.stream), "utf-8-sig", newline="") as text,  # type: ignore[type-var]
    ):
        yield text


@contextlib.contextmanager
def open_inside(directory: Path, name: str, max_bytes: int) -> Iterator[PlainFile]:
    """Open the plain file `name` below `directory`, no part of whose name is a symbolic link. Raises OSError."""
    *folders, last = PurePosixPath(name).parts
    with contextlib.ExitStack() as stack:
        here = _folder(directory, None, 0)
        stack.callback(os.close, here)
        for part in folders:
            here = _folder(part, here, os.O_NOFOLLOW)
            stack.callback(os.close, here)
        yield stack.enter_context(open_plain(last, max_bytes, follow=False, folder=here))


def read_inside(directory: Path, name: str, max_bytes: int) -> bytes:
    """The content of a plain file below `directory`, as `open_inside`. Raises OSError."""
    with open_inside(directory, name, max_bytes) as file:
        return b"".join(file.chunks())


def entries_below(directory: Path, at_most: int) -> list[str]:
    """Everything below `directory` but its folders, relative, sorted; links are not followed.

    Raises OSError; UnfitFileError when there are more than `at_most` or they lie too deep.
    """
    found: list[str] = []
    seen = 0
    waiting = [("", 0)]
    while waiting:
        below, depth = waiting.pop()
        if depth > MAX_FOLDER_DEPTH:
            raise UnfitFileError(errno.ENAMETOOLONG, f"folders more than {MAX_FOLDER_DEPTH} deep")
        with os.scandir(directory / below) as entries:
            for entry in entries:
                seen += 1
                if seen > at_most:
                    raise UnfitFileError(errno.EMLINK, f"more than {at_most} files")
                name = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{name}/", depth + 1))
                else:
                    found.append(name)
    return sorted(found)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, in a folder that is made if need be; on the disk when it is closed. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    """Let a file that was just put into `folder` survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes, mode: int | None = None) -> None:
    """Put `content` at `path`: a reader, and a power cut, leave the old file or the new one. Raises OSError."""
    replace_at_once(path, content, mode, sync=True)
    sync_folder(path.parent)


def replace_at_once(path: Path, content: bytes, mode: int | None = None, *, sync: bool = False) -> None:
    """Put `content` at `path`, for readers as a whole; whatever stands in the way is not written to. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as stream:
        if mode is not None:
            os.fchmod(descriptor, mode)
        stream.write(content)
        if sync:
            stream.flush()
            os.fsync(descriptor)
    partial.replace(path)


def replace_folder(new: Path, final: Path) -> None:
    """Put `new` where `final` is; an older one is moved aside first, and back if that fails. Raises OSError."""
    old = final.with_name(f".{final.name}.old.{os.getpid()}")
    if final.exists():
        final.rename(old)
    try:
        new.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _opened(path: Path | str, follow: bool, folder: int | None) -> int:
    last = 0 if follow else os.O_NOFOLLOW
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    if not hasattr(os, "O_PATH"):  # macOS, where bundles are only built
        return os.open(path, flags | last, dir_fd=folder)
    # Opening a device may already do something, starting a watchdog for one.
    looked_at = os.open(path, os.O_PATH | os.O_CLOEXEC | last, dir_fd=folder)
    try:
        _fit(os.fstat(looked_at), None)
        return os.open(f"/proc/self/fd/{looked_at}", flags)
    finally:
        os.close(looked_at)


def _folder(path: Path | str, folder: int | None, flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags, dir_fd=folder)


def _fit(found: os.stat_result, max_bytes: int | None) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise UnfitFileError(errno.EINVAL, f"{kind}, not a plain file")
    if max_bytes is not None and found.st_size > max_bytes:
        limit = f"{max_bytes >> 20} MB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} kB"
        raise UnfitFileError(errno.EFBIG, f"larger than {limit}")
    return found.st_size
