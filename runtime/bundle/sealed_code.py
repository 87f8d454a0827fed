"""Native code is loaded from memory that nobody can change: the very bytes whose hashes were signed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.bundle.packing import MAX_BUNDLE_BYTES
from runtime.formats.plain_files import UnfitFileError, read_inside

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@contextlib.contextmanager
def sealed(folder: Path, hashes: Mapping[str, str]) -> Iterator[Path]:
    """A folder of names for sealed copies of the files of `hashes` (name -> SHA-256): libraries find each other there.

    Raises OSError; UnfitFileError for a file that is not what its hash says.
    """
    with contextlib.ExitStack() as stack:
        names = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nisse-solver-")))
        for name, expected in hashes.items():
            data = read_inside(folder, name, MAX_BUNDLE_BYTES)
            if hashlib.sha256(data).hexdigest() != expected:
                raise UnfitFileError(errno.EINVAL, f"{name} is not what was signed; install the bundle again")
            copy = stack.enter_context(os.fdopen(os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC), "wb"))
            copy.write(data)
            copy.flush()
            fcntl.fcntl(copy.fileno(), fcntl.F_ADD_SEALS, SEALS)
            (names / name).symlink_to(f"/proc/self/fd/{copy.fileno()}")
        yield names
