"""Buckets of one account share the mount's limits: one that gets no answers does not stop the others."""

import contextlib
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from support.commands import eventually
from support.patterns import MIB, pattern
from support.processes import daemons
from support.responder import Responder

# More calls than a mount of one bucket has threads for.
CALLERS = 150


class Silence:
    """A bucket whose server takes requests of some methods and does not answer them until the end."""

    def __init__(self, storage, bucket):
        self.methods = set()
        self.waiting = 0
        self.is_over = threading.Event()
        self.lock = threading.Lock()

        def script(request, forward):
            if request.method not in self.methods or not request.path.startswith(f"/{bucket}"):
                return forward()
            with self.lock:
                self.waiting += 1
            self.is_over.wait()
            return forward()

        storage.script = script


@pytest.fixture
def silence(sandbox, storage):
    made = Silence(storage, sandbox.second)
    yield made
    made.is_over.set()


def in_threads(count, body):
    """Calls of which only matters that they wait; they fail when that lasts long."""

    def run(number):
        with contextlib.suppress(OSError):
            body(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def thread_names(pid):
    names = Counter()
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            names[comm.read_text().strip()] += 1
    return names


@pytest.mark.time_limit(180)
def test_a_bucket_without_answers_does_not_stop_the_others(sandbox, waysfs, account_mount, storage, silence):
    large = pattern(24 * MIB, "shared")
    for bucket in (sandbox.first, sandbox.second):
        sandbox.s3.put_object(Bucket=bucket, Key="large", Body=large)
    root = account_mount("--all", "--write-mode", "writeback", "--cache-limit", "0", *storage.options)
    good, silent = root / sandbox.first, root / sandbox.second
    held = os.open(silent / "large", os.O_RDONLY)
    # Parts that nobody takes, more than there are threads to send them.
    silence.methods = {"PUT"}
    with open(silent / "unsent", "wb") as file:
        for _ in range(20):
            file.write(bytes(8 * MIB))
    eventually(lambda: silence.waiting >= 12, "parts wait for an answer")
    # Then nothing at all is answered.
    silence.methods = {"GET", "HEAD", "PUT", "POST", "DELETE"}
    before = silence.waiting
    readers = in_threads(40, lambda number: os.pread(held, 1, (number * 37 % 97) * MIB // 4))
    callers = in_threads(CALLERS, lambda number: (silent / f"name {number}").exists())
    eventually(lambda: silence.waiting > before + 4, "more wait for an answer")
    (pid,) = daemons(waysfs.binary, root)

    eventually(lambda: thread_names(pid)["waysfs-fuse"] > 64, "calls wait for the silent bucket")

    assert "large" in os.listdir(good)
    assert (good / "large").read_bytes() == large
    with open(good / "written", "wb") as file:
        file.write(large)
        os.fsync(file.fileno())
    (good / "small").write_bytes(b"small")
    waysfs.run("flush", good, timeout=60)
    assert sandbox.s3.get_object(Bucket=sandbox.first, Key="written")["Body"].read() == large
    assert sandbox.s3.get_object(Bucket=sandbox.first, Key="small")["Body"].read() == b"small"
    assert {sandbox.first, sandbox.second} <= set(os.listdir(root))
    assert not silence.is_over.is_set()

    silence.is_over.set()
    for thread in [*readers, *callers]:
        thread.join()
    os.close(held)
    eventually(lambda: waysfs.run("flush", root, check=False).returncode == 0, "all is in the buckets")
    assert sandbox.s3.head_object(Bucket=sandbox.second, Key="unsent")["ContentLength"] == 160 * MIB


@pytest.mark.time_limit(120)
def test_used_buckets_share_the_threads(waysfs, tmp_path):
    names = [f"used-{number:03}" for number in range(100)]
    responder = Responder(tmp_path, *(word for name in names for word in ("--bucket", name)))
    try:
        root = tmp_path / "mount"
        root.mkdir()
        files = ["--cache-dir", tmp_path / "cache", "--log-file", tmp_path / "log"]
        waysfs.run("mount", "--all", root, "--write-mode", "writeback", *files, environment=responder.environment)
        (pid,) = daemons(waysfs.binary, root)
        try:
            # Uploads that take a while, into all buckets at once.
            responder.control("?delay=100ms")

            def write(number):
                for name in names[number::25]:
                    for file in range(4):
                        (root / name / f"file {file}").write_bytes(b"x")

            most = Counter()
            threads = in_threads(25, write)
            while any(thread.is_alive() for thread in threads):
                most |= thread_names(pid)
            # There are 22 of each, and some that begin or end in this moment.
            assert most["waysfs-upload"] < 40 and most["waysfs-work"] < 40, most
            responder.control("?delay=0ms")
            waysfs.run("flush", root)
            assert len(list(root.glob("*/file *"))) == 400
            # What stays of each.
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
            assert sum(link.endswith("/lock") for link in links) == len(names)
        finally:
            waysfs.run("umount", root)
    finally:
        responder.stop()
