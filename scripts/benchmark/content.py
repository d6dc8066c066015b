"""Bytes that can be made again at any time, so that what was read or stored can be compared with what it should be."""

import copy
import random

BLOCK = 1 << 20


class Content:
    """The bytes of one file: a window that moves over a pool of random bytes, so that no two blocks, nor equal
    ranges of two blocks, are alike below 16,000 blocks. `first` is the number of its first block."""

    _POOL = 32 << 20
    _STEP = 2089

    def __init__(self, size, seed=0):
        self.size = size
        self.first = 0
        self._pool = memoryview(random.Random(seed).randbytes(self._POOL + BLOCK))

    def other(self, first, size):
        """Bytes for another file, from the same pool: those that begin at the block `first` of this one."""
        made = copy.copy(self)
        made.size, made.first = size, first
        return made

    def read(self, offset, length):
        """Up to `length` bytes at `offset`, as a view when they lie in one block."""
        length = max(0, min(length, self.size - offset))
        index, skip = divmod(offset, BLOCK)
        if skip + length <= BLOCK:
            start = (self.first + index) * self._STEP % self._POOL + skip
            return self._pool[start : start + length]
        first = self.read(offset, BLOCK - skip)
        return b"".join([first, self.read(offset + len(first), length - len(first))])

    def blocks(self):
        for offset in range(0, self.size, BLOCK):
            yield self.read(offset, BLOCK)


class Patched:
    """Content in which one place at a time differs."""

    def __init__(self, base):
        self.size = base.size
        self._base = base
        self._patches = {}

    def patch(self, offset, data):
        """Replaces bytes within one block."""
        self._patches[offset] = data

    def read(self, offset, length):
        found = bytearray(self._base.read(offset, length))
        for place, data in self._patches.items():
            if offset <= place and place + len(data) <= offset + len(found):
                found[place - offset : place - offset + len(data)] = data
        return found

    def blocks(self):
        for offset in range(0, self.size, BLOCK):
            yield self.read(offset, BLOCK)


class Wrong(Exception):
    """A system delivered or stored something else than it was given."""


def compare(stream, content, what, piece=BLOCK):
    """Reads `stream` to its end and compares it with `content`.

    stream: has readinto(), and may answer with less than asked for.
    piece: how much to read at a time, a block or a fraction of it.
    """
    # Comparing this, and not a view of it, is what C does at once.
    found = bytearray(piece)
    buffer = memoryview(found)
    for offset in range(0, content.size, piece):
        expected, filled = content.read(offset, piece), 0
        while filled < len(expected):
            count = stream.readinto(buffer[filled : len(expected)])
            if not count:
                raise Wrong(f"{what}: ends after {offset + filled} of {content.size} bytes")
            filled += count
        if (found if filled == piece else found[:filled]) != expected:
            raise Wrong(f"{what}: wrong bytes from {offset} on")
    if stream.readinto(buffer[:1]):
        raise Wrong(f"{what}: longer than {content.size} bytes")
