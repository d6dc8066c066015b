"""Reads that wait for the network, and what goes on meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import TIME_LIMIT, eventually
from support.faults import HELD
from support.processes import is_alive

MIB = 1 << 20
CONTENT = os.urandom(64 * MIB)
PIECE = 64 << 10
# More than the threads that take requests from the kernel, of which there are 64 at most.
READERS = 100


class Held:
    """A mount whose server answers no GET of `large` before `release`."""

    def __init__(self, bucket, middle, mounted):
        self.mounted, self.middle = mounted, middle
        self.path = mounted.path / "large"
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.waiting = self.most = 0
        bucket.put("large", CONTENT)
        bucket.put("other", b"other")
        middle.script = self.script

    def script(self, request, forward):
        if request.method == "GET" and request.key == "large":
            with self.lock:
                self.waiting += 1
                self.most = max(self.most, self.waiting)
            self.released.wait(HELD)
            with self.lock:
                self.waiting -= 1
        return forward()

    def release(self):
        self.released.set()


@pytest.fixture
def held(bucket, mount, proxy):
    middle = proxy(bucket.server)
    made = Held(bucket, middle, mount(bucket, endpoint=middle.endpoint))
    yield made
    made.release()


def test_more_waiting_reads_than_workers(held):
    """Reads of one descriptor are under way together, and whoever asks for something else is answered."""
    with open(held.path, "rb", buffering=0) as file, ThreadPoolExecutor(READERS) as pool:
        offsets = [index * (len(CONTENT) // READERS) // 4096 * 4096 for index in range(READERS)]
        reads = [pool.submit(os.pread, file.fileno(), PIECE, offset) for offset in offsets]
        eventually(lambda: held.waiting >= 16, "16 GETs of one descriptor are under way")
        try:
            # What is known, and what is asked of the server, for which some connections are kept.
            os.statvfs(held.mounted.path)
            assert os.stat(held.path).st_size == len(CONTENT)
            assert os.stat(held.mounted.path / "other").st_size == 5
            assert sorted(os.listdir(held.mounted.path)) == ["large", "other"]
            assert not any(read.done() for read in reads)
        finally:
            held.release()
        for offset, read in zip(offsets, reads):
            assert read.result(TIME_LIMIT) == CONTENT[offset : offset + PIECE]


READER = """
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
if sys.argv[2] == "mmap":
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as memory:
        memory[5 << 20]
else:
    os.pread(descriptor, 1 << 20, 1 << 20)
"""


@pytest.mark.parametrize("way", ["read", "mmap"])
def test_a_reader_that_is_killed_goes_away(way, held):
    with subprocess.Popen([sys.executable, "-c", READER, held.path, way]) as program:
        try:
            eventually(lambda: held.waiting > 0, "the read is sent")
            assert program.poll() is None
            program.kill()
            assert program.wait(TIME_LIMIT) == -signal.SIGKILL
            assert held.waiting > 0, "it went before its read was answered"
        finally:
            held.release()
            program.kill()
    assert held.path.read_bytes() == CONTENT
    assert is_alive(held.mounted.pid)


def test_a_reader_that_closes_cancels_what_was_fetched_ahead(bucket, mount, proxy):
    """Once the reads that the kernel made by itself are answered, up to 2 MiB ahead, for it closes the file only then."""
    middle = proxy(bucket.server)
    bucket.put("large", CONTENT)
    mounted = mount(bucket, endpoint=middle.endpoint)
    released = threading.Event()
    far, ended = [], []

    def drips(body):
        """Slow enough to go on for long, and not so slow that the mount would give up."""
        far.append(len(body))
        try:
            for offset in range(len(body)):
                if released.wait(0.1):
                    yield body[offset:]
                    return
                yield body[offset : offset + 1]
        finally:
            # Also when the connection has ended.
            ended.append(len(body))

    def script(request, forward):
        headers = {name.lower(): value for name, value in request.headers}
        answer = forward()
        if request.method == "GET" and request.key == "large":
            first = int(headers["range"].removeprefix("bytes=").split("-")[0])
            if first >= 8 * MIB:
                answer.headers.append(("Content-Length", str(len(answer.body))))
                answer.pieces = drips(answer.body)
        return answer

    middle.script = script
    with open(mounted.path / "large", "rb", buffering=0) as file:
        for index in range(4):
            assert file.read(MIB) == CONTENT[index * MIB : (index + 1) * MIB]
        eventually(lambda: far, "more is fetched than was read")
        assert ended == []
    eventually(lambda: len(ended) == len(far), "the transfers are broken off")
    asked = len(far)
    released.set()
    assert (mounted.path / "large").read_bytes() == CONTENT
    assert len(far) > asked
