"""The password of the page: kept as an scrypt hash, compared in constant time.

Source: RFC 7914 (scrypt); cost parameters as its section 2 has them for interactive use, 16 MB of memory.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from runtime.errors import NisseError
from runtime.formats.plain_files import read_text, replace_at_once

N, R, P, LENGTH = 1 << 14, 8, 1, 32
SHORTEST, LONGEST = 10, 200
MAX_FILE_BYTES = 1024


class PasswordError(NisseError):
    """No password can be made of this, or the file holds none."""


def hashed(password: str, salt: bytes | None = None) -> str:
    """`scrypt$<salt>$<hash>`, hexadecimal. Raises PasswordError."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordError(f"a password has {SHORTEST} to {LONGEST} characters")
    salt = secrets.token_bytes(16) if salt is None else salt
    return f"scrypt${salt.hex()}${_derived(password, salt).hex()}"


def matches(password: str, kept: str) -> bool:
    """Whether it is the password; a long one is none, so that nobody makes the hash expensive."""
    _, salt, expected = kept.split("$")
    derived = _derived(password[: LONGEST + 1], bytes.fromhex(salt))
    return hmac.compare_digest(derived, bytes.fromhex(expected)) and len(password) <= LONGEST


def write_password(path: Path, password: str) -> None:
    """For the owner's eyes only. Raises PasswordError."""
    try:
        replace_at_once(path, (hashed(password) + "\n").encode(), mode=0o600)
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}; choose a folder that can be written") from error


def read_password(path: Path) -> str:
    """The hash. Raises PasswordError."""
    try:
        kept = read_text(path, MAX_FILE_BYTES).strip()
        kind, salt, derived = kept.split("$")
        if kind != "scrypt" or len(bytes.fromhex(salt)) < 8 or len(bytes.fromhex(derived)) != LENGTH:
            raise ValueError
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}; make one with: nisse web password {path}") from error
    except ValueError as error:
        raise PasswordError(f"{path}: holds no password; make one with: nisse web password {path}") from error
    return kept


def _derived(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=N, r=R, p=P, maxmem=64 << 20, dklen=LENGTH)
