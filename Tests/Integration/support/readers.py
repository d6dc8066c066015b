"""Ways in which programs read a file, and what came of each read.

A reader takes the path of a file, its length and a seed, and returns pieces: `(offset, length, bytes)` for a read that
gave bytes, maybe fewer than asked for, and `(offset, length, error)` with the name of the error else.
"""

import errno
import os
import random
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from support.commands import TIME_LIMIT

PIECE = 64 << 10
THREADS = 16


def places(length, seed, count=24):
    source = random.Random(seed)
    return [source.randrange(length) for _ in range(count)]


def _pread(descriptor, offset):
    try:
        return offset, PIECE, os.pread(descriptor, PIECE, offset)
    except OSError as error:
        return offset, PIECE, errno.errorcode[error.errno]


def sequential(path, length, seed):
    """From front to end, or to the first error."""
    pieces, offset = [], 0
    try:
        with open(path, "rb", buffering=0) as file:
            while True:
                pieces.append(_pread(file.fileno(), offset))
                if not pieces[-1][2] or isinstance(pieces[-1][2], str):
                    return pieces
                offset += len(pieces[-1][2])
    except OSError as error:
        return [*pieces, (offset, PIECE, errno.errorcode[error.errno])]


def scattered(path, length, seed):
    """Here and there, one after the other."""
    return threaded(path, length, seed, threads=1)


def threaded(path, length, seed, threads=THREADS):
    """Here and there, by many threads with one descriptor."""
    offsets = places(length, seed, count=2 * THREADS)
    try:
        with open(path, "rb", buffering=0) as file, ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda offset: _pread(file.fileno(), offset), offsets))
    except OSError as error:
        return [(0, PIECE, errno.errorcode[error.errno])]


_MAPPED = """
import mmap, struct, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
    for offset in map(int, sys.argv[3:]):
        piece = view[offset : offset + int(sys.argv[2])]
        sys.stdout.buffer.write(struct.pack("=QQ", offset, len(piece)) + piece)
        sys.stdout.buffer.flush()
"""


def mapped(path, length, seed):
    """Through a memory map, in a process of its own: what cannot be read ends it with SIGBUS."""
    offsets = places(length, seed)
    arguments = [sys.executable, "-c", _MAPPED, path, str(PIECE), *map(str, offsets)]
    result = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIME_LIMIT)
    pieces, rest = [], result.stdout
    while len(rest) >= 16:
        offset, count = struct.unpack_from("=QQ", rest)
        pieces.append((offset, PIECE, rest[16 : 16 + count]))
        rest = rest[16 + count :]
    if result.returncode != 0:
        # Else it was an error of open, as a traceback.
        error = "SIGBUS" if result.returncode < 0 else result.stderr.decode()[-200:]
        pieces.append((offsets[len(pieces)], PIECE, error))
    return pieces


READERS = {reader.__name__: reader for reader in (sequential, scattered, threaded, mapped)}


def errors(pieces):
    return [found for _, _, found in pieces if isinstance(found, str)]


def wrong(pieces, content):
    """What was read and is not in the file. A read may end early where the next byte cannot be read."""
    return [
        f"{len(found)} bytes at {offset}"
        for offset, length, found in pieces
        if not isinstance(found, str)
        and (found != content[offset : offset + len(found)] or (not found and offset < len(content)))
    ]
