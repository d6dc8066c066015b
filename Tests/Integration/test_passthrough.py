"""Files that the kernel reads by itself: whole in the disk cache, with the daemon out of the way."""

import os
import platform
import re
import signal
import threading

import pytest
from support.commands import eventually, run
from support.processes import is_alive

MIB = 1 << 20
OLD = os.urandom(6 * MIB + 4321)
NEW = os.urandom(7 * MIB)
CACHE = ("--cache-limit", "1G")

def is_possible(directory):
    """Root, Linux 6.9, and a disk that is no overlay."""
    version = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    kind = run("stat", "--file-system", "--format=%T", directory).stdout.strip()
    return os.geteuid() == 0 and version >= (6, 9) and kind != "overlayfs"


def reads_without_the_daemon(mounted, descriptor):
    """All of an open file while the daemon is stopped, from nothing that the kernel kept; None when that cannot be."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    found = []
    # Not in a program of its own: that would close what it inherits, of which the daemon is told.
    reader = threading.Thread(target=lambda: found.append(os.pread(descriptor, 2 * len(NEW), 0)))
    os.kill(mounted.pid, signal.SIGSTOP)
    try:
        reader.start()
        reader.join(5)
        is_read = bool(found)
    finally:
        os.kill(mounted.pid, signal.SIGCONT)
    reader.join()
    return found[0] if is_read else None


def opened(mounted, path):
    """The file, opened so that the kernel reads it by itself, where that is possible: once this mount has read all of it
    from the cache, and found it right."""
    mounted.waysfs.run("warm", path)
    mounted.restart()
    assert path.read_bytes() == OLD
    if not is_possible(mounted.cache):
        return open(path, "rb", buffering=0)

    def passed():
        file = open(path, "rb", buffering=0)
        content = reads_without_the_daemon(mounted, file.fileno())
        assert content in (None, OLD)
        if content is not None:
            return file
        file.close()

    return eventually(passed, "the kernel reads the file by itself")


def content(file):
    return os.pread(file.fileno(), 2 * len(NEW), 0)


@pytest.fixture
def readable(bucket, mount):
    bucket.put("file", OLD)
    return mount(bucket, *CACHE, "--read-only", "--metadata-ttl", "0")


def test_a_whole_file_is_read_without_the_daemon(readable):
    with opened(readable, readable.path / "file") as file, open(readable.path / "file", "rb") as second:
        assert content(file) == second.read() == OLD
        assert os.fstat(file.fileno()).st_size == len(OLD)
    assert (readable.path / "file").read_bytes() == OLD


def test_after_a_remount_the_first_open_is_read_without_the_daemon(readable):
    """The mount before has found all of it right, and said so."""
    path = readable.path / "file"
    readable.waysfs.run("warm", path)
    readable.restart()
    with open(path, "rb", buffering=0) as file:
        assert reads_without_the_daemon(readable, file.fileno()) == (OLD if is_possible(readable.cache) else None)
    assert path.read_bytes() == OLD


def test_what_was_changed_in_the_cache_is_looked_at_again(readable):
    path = readable.path / "file"
    readable.waysfs.run("warm", path)
    readable.unmount()
    data = max((readable.cache / "read").glob("??/*"), key=lambda found: found.stat().st_size)
    with open(data, "r+b") as file:
        file.seek(5 * MIB)
        byte = file.read(1)[0]
        file.seek(5 * MIB)
        file.write(bytes([byte ^ 1]))
    readable.start()
    with open(path, "rb", buffering=0) as file:
        assert content(file) == OLD
    assert "damaged" in readable.log_text()


def test_another_version_is_read_beside_it(bucket, readable):
    with opened(readable, readable.path / "file") as file:
        bucket.put("file", NEW)
        assert (readable.path / "file").read_bytes() == NEW
        # The old one to its end, and never a mixture.
        assert content(file)[: len(OLD)] == OLD and os.fstat(file.fileno()).st_size == len(OLD)
        assert os.stat(readable.path / "file").st_size == len(NEW)
    assert (readable.path / "file").read_bytes() == NEW


def test_writing_beside_a_reader(bucket, mount):
    """In place, cut to nothing, replaced and removed: who reads keeps what was opened, and nothing gets mixed up."""
    bucket.put("file", OLD)
    mounted = mount(bucket, *CACHE, "--passthrough", "always")
    path = mounted.path / "file"
    with opened(mounted, path) as file:
        with open(path, "r+b", buffering=0) as writer:
            writer.write(b"changed")
            assert path.read_bytes() == b"changed" + OLD[7:]
        changed = b"changed" + OLD[7:]
        assert bucket.get("file") == changed and path.read_bytes() == changed
        if is_possible(mounted.cache):
            assert content(file) == OLD
        os.truncate(path, 1000)
        assert bucket.get("file") == changed[:1000] and path.read_bytes() == changed[:1000]
        path.write_bytes(NEW)
        assert bucket.get("file") == NEW and path.read_bytes() == NEW
        os.rename(path, mounted.path / "other")
        os.unlink(mounted.path / "other")
        if is_possible(mounted.cache):
            assert content(file) == OLD
    assert bucket.keys() in ([], [".waysfs-attributes"]) and is_alive(mounted.pid)


def test_a_file_that_is_being_written_is_not_passed_through(bucket, mount):
    """Who opens it beside the writer sees what is written."""
    bucket.put("file", OLD)
    mounted = mount(bucket, *CACHE, "--passthrough", "always")
    path = mounted.path / "file"
    assert path.read_bytes() == OLD
    with open(path, "r+b", buffering=0) as writer, open(path, "rb", buffering=0) as reader:
        assert reader.read(4) == OLD[:4]
        writer.write(b"seen")
        assert os.pread(reader.fileno(), 4, 0) == b"seen"
