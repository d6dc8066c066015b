"""What the work of some rows costs without a filesystem in between: bare sockets against the same server, and files on
the disk where the caches are. It stands in the tables as the system `bare`."""

import contextlib
import http.client
import os
import queue
import re
import threading
import time

import content
from workspace import Sample

NAME = "bare"
# As waysfs fetches ahead of one reader: eight ranges of 8 MiB at a time.
CONNECTIONS = 8
RANGE = 8 << 20
# Small enough to stay in the processor's cache.
_BUFFER = 256 << 10


class Clock:
    """Times something that this process does: wall seconds, and its own CPU seconds."""

    def __init__(self):
        self._cpu = time.process_time()
        self._begin = time.perf_counter()

    def sample(self):
        return Sample(time.perf_counter() - self._begin, time.process_time() - self._cpu)


def download(space, sizes, connections):
    """Fetches objects in ranges, in order, over so many connections at once, and drops the bytes.

    sizes: of the objects by their keys.
    """
    bucket, waiting, failures = space.server.measured(), queue.SimpleQueue(), []
    for key, size in sizes.items():
        for begin in range(0, size, RANGE):
            end = min(size, begin + RANGE)
            waiting.put((bucket.request("GET", key, {"range": f"bytes={begin}-{end - 1}"}), end - begin))

    def work():
        try:
            buffer = memoryview(bytearray(_BUFFER))
            with bucket.connect() as connection, contextlib.suppress(queue.Empty):
                while True:
                    _receive(connection, *waiting.get_nowait(), buffer)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    clock = Clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sample = clock.sample()
    if failures:
        raise failures[0]
    return sample


def _receive(connection, request, length, buffer):
    """Sends a request for a range of so many bytes, and reads the answer."""
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise http.client.RemoteDisconnected("in the head of an answer")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 206 ") or not found or int(found[1]) != length:
        raise http.client.BadStatusLine(head.decode(errors="replace"))
    left = length - len(rest)
    while left:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise http.client.IncompleteRead(b"", left)
        left -= count


def large(space, _):
    """The large object as `read` has it, and the local file from the page cache."""
    sample = download(space, {"large": space.sizes.size}, CONNECTIONS)
    read_file(space.local)
    return {"read": sample, "again": local(space)}


def line(bandwidth):
    """A measurement of the large object over a line, and of what the line takes for half of it at so many bytes a
    second."""

    def measure(space, _):
        size = space.sizes.size
        return {
            "read-net": download(space, {"large": size}, CONNECTIONS), "window": Sample(wall=size / 2 / bandwidth)
        }

    return measure


def four(space, _):
    keys = {f"stream-{number}": space.sizes.size // 4 for number in range(4)}
    return {"read-4": download(space, keys, 4 * CONNECTIONS)}


def listing(row, folder):
    """A measurement of the flat listing of everything below a folder."""

    def measure(space, _):
        bucket, clock = space.server.measured(), Clock()
        for _ in bucket.pages(f"{folder}/"):
            pass
        return {row: clock.sample()}

    return measure


def cold_local(space, _):
    """The local file from the disk, and then from the page cache."""
    samples = {}
    for row in ("warm", "passed"):
        leave_on_disk(space.local)
        samples |= {row: local(space), f"{row}-again": local(space)}
    return samples


def local(space):
    clock = Clock()
    read_file(space.local)
    return clock.sample()


def read_file(path):
    """Reads a file from front to end, and drops the bytes."""
    buffer = bytearray(content.BLOCK)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def leave_on_disk(path):
    """Takes a file on a disk, or all files below a directory, out of the page cache. They are read once before: what was
    just written may be slow to come the first time, where the disk is one of a virtual machine, and that would be
    compared with what was read in the round before."""
    if path.is_dir():
        for entry in path.iterdir():
            leave_on_disk(entry)
        return
    read_file(path)
    with open(path, "rb", buffering=0) as file:
        # Only what is on the disk can be dropped.
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
