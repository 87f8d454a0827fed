"""Ed25519 signing keys of bundles: made, read, shown; `cryptography` is imported only while a key is in use.

A public key is written `ed25519:<base64 of its 32 bytes>`, a private key is an unencrypted PKCS#8 PEM file, mode 0600.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import KeyFileError
from runtime.formats.plain_files import read_plain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
KEY_BYTES = 32
MAX_KEY_BYTES = 1 << 16


@dataclass(frozen=True)
class SigningKey:
    """A private key; `public` is what a site file lists under `trusted_keys`."""

    public: str
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature."""
        return self._private.sign(message)


def new_key(path: Path) -> SigningKey:
    """Make a key and write it to `path`, readable by its owner only. Raises KeyFileError rather than replace a file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path}: exists and is not replaced; name another file, or remove this one") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written ({error.strerror}); name a folder you own") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return _signing_key(private)


def load_key(path: Path) -> SigningKey:
    """Read a private key. Raises KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(read_plain(path, MAX_KEY_BYTES), password=None)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; make a key with: nisse key new {path}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: not an unencrypted PEM private key; make one with `nisse key new`") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key; make one with `nisse key new`")
    return _signing_key(private)


def is_signed_by(public: str, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made by the key `public`. Raises KeyFileError if `public` is no key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(public_key_bytes(public))
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def public_key_bytes(public: str) -> bytes:
    """The 32 bytes of `ed25519:<base64>`. Raises KeyFileError."""
    try:
        raw = base64.b64decode(public.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not public.startswith(PREFIX) or len(raw) != KEY_BYTES:
        raise KeyFileError(f"{public!r} is not a public key; `nisse key show PATH` prints one, ed25519:<base64>")
    return raw


def _signing_key(private: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(PREFIX + base64.b64encode(private.public_key().public_bytes_raw()).decode(), private)
