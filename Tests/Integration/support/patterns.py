"""Bytes to write and to know again."""

import hashlib

MIB = 1 << 20


def pattern(size, seed):
    """Bytes that are nowhere the same."""
    block = hashlib.shake_128(seed.encode()).digest(MIB)
    return b"".join((number.to_bytes(8, "big") + block[8:]) for number in range(size // MIB))
