"""The signature beside a signed text: written, and checked without a parser, since who wrote it is not known yet."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.bundle.keys import is_signed_by
from runtime.errors import BundleTamperedError, BundleUnsignedError, BundleUntrustedError, KeyFileError

if TYPE_CHECKING:
    from runtime.bundle.keys import SigningKey

_SEAL = re.compile(
    rb'\s*\{\s*"key":\s*"(ed25519:[A-Za-z0-9+/]{43}=)",\s*"signature":\s*"([A-Za-z0-9+/]{86}==)"\s*\}\s*'
)


def seal(message: bytes, key: SigningKey) -> bytes:
    """One line of JSON: public key and signature."""
    signature = base64.b64encode(key.sign(message)).decode()
    return (json.dumps({"key": key.public, "signature": signature}) + "\n").encode()


def checked_signature(message: bytes, found: bytes | None, shown: Path, trusted_keys: Sequence[str] | None) -> str:
    """The public key that signed `message`, which `found`, its seal, names. Nothing is parsed for it.

    Raises BundleUnsignedError, BundleUntrustedError and, for a signature that does not fit, BundleTamperedError.
    """
    if found is None:
        raise BundleUnsignedError(f"{shown}: not signed; sign it with the --key that this site trusts")
    match = _SEAL.fullmatch(found)
    if match is None:
        raise BundleUnsignedError(f"{shown}: what should be its signature is none; copy it again from its builder")
    signer = match[1].decode()
    if trusted_keys is not None and signer not in trusted_keys:
        raise BundleUntrustedError(
            f"{shown}: signed by {signer}, which this site does not trust; if it is yours, add it to trusted_keys"
        )
    try:
        valid = is_signed_by(signer, base64.b64decode(match[2], validate=True), message)
    except (binascii.Error, ValueError, KeyFileError):
        valid = False
    if not valid:
        raise BundleTamperedError(f"{shown}: its signature does not fit: altered or damaged; copy it again")
    return signer
