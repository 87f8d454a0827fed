"""Consistent overhead byte stuffing: any bytes as bytes without a zero, so that a zero can end every frame.

Source: S. Cheshire, M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999.
"""

from __future__ import annotations

LONGEST_GROUP = 0xFF


class CobsError(ValueError):
    """Bytes that no encoder wrote."""


def encode(data: bytes) -> bytes:
    """`data` without zeros: each group is its length + 1, then its bytes; a group ends where a zero was.

    One byte longer than `data`, and one more for every 254 bytes without a zero. The ending zero is the caller's.
    """
    encoded = bytearray()
    parts = data.split(b"\0")
    for number, part in enumerate(parts):
        while len(part) >= LONGEST_GROUP - 1:  # a full group stands for no zero
            encoded += bytes([LONGEST_GROUP]) + part[: LONGEST_GROUP - 1]
            part = part[LONGEST_GROUP - 1 :]
            if not part and number == len(parts) - 1:
                return bytes(encoded)
        encoded += bytes([len(part) + 1]) + part
    return bytes(encoded)


def decode(encoded: bytes) -> bytes:
    """The bytes behind `encoded`, which comes without its ending zero. Raises CobsError."""
    if not encoded:
        raise CobsError("nothing between two zeros")
    decoded, at = bytearray(), 0
    while at < len(encoded):
        code = encoded[at]
        group = encoded[at + 1 : at + code]
        if code == 0 or 0 in group:
            raise CobsError(f"a zero inside, at byte {at}")
        if len(group) < code - 1:
            raise CobsError(f"the group at byte {at} is cut short")
        decoded += group
        at += code
        if code < LONGEST_GROUP and at < len(encoded):
            decoded.append(0)
    return bytes(decoded)
