"""Many readers at once with little memory: the daemon and those who read are together in a memory cgroup."""

import contextlib
import multiprocessing
import os
import pathlib
import time

import content
import processes
from workspace import Sample, Stopwatch, at_once

MIB = 1 << 20
CGROUP = 256 * MIB
# What the readers themselves take is little beside that.
PIECE = MIB // 4
# How long it may take.
LIMIT = 600


@contextlib.contextmanager
def memory_cgroup(limit):
    """A cgroup below the own one with this limit: the file to write the pids of processes to. None when there is none
    to be had, which is said."""
    directory = None
    try:
        parent, name = _memory_hierarchy()
        directory = parent / f"waysfs-bench-{os.getpid()}"
        directory.mkdir()
        (directory / name).write_text(str(limit))
    except OSError as error:
        print(f"    without a memory cgroup: {error}")
        if directory is not None and directory.is_dir():
            directory.rmdir()
        directory = None
    try:
        yield directory and directory / "cgroup.procs"
    finally:
        if directory is not None:
            processes.wait_until(lambda: _is_removed(directory), 30, f"{directory} is still in use")


def _memory_hierarchy():
    """The own directory in the hierarchy that has the memory controller, and the name of the limit there."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory", path.lstrip("/")), "memory.limit_in_bytes"
        if not controllers and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return pathlib.Path("/sys/fs/cgroup", path.lstrip("/")), "memory.max"
    raise FileNotFoundError("this system has no memory controller")


def _is_removed(directory):
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def streams(system, space, _):
    numbers = range(space.sizes.streams)
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(memory_cgroup(CGROUP))
        mount = stack.enter_context(space.mounted(system, group=group))
        receiving, sending = multiprocessing.Pipe(duplex=False)
        readers = multiprocessing.Process(target=_read_all, args=(space, mount.path, numbers, group, sending))
        watch = Stopwatch(mount)
        readers.start()
        sending.close()
        if not receiving.poll(LIMIT):
            readers.kill()
            raise processes.Failed(f"{system.name}: {len(numbers)} readers have not finished within {LIMIT} s")
        try:
            seconds = receiving.recv()
        except EOFError:
            raise processes.Failed(f"{system.name}: the readers have ended early, or were killed") from None
        finally:
            readers.join()
        if isinstance(seconds, str):
            raise content.Wrong(f"{system.name}: {seconds}")
        return {"streams": watch.sample(), "streams-spread": Sample(count=max(seconds) / min(seconds))}


def _read_all(space, directory, numbers, group, sending):
    """Reads a file in each of as many threads, comparing them, and sends how many seconds each has taken."""
    begin = time.perf_counter()

    def read(number):
        with open(directory / f"stream-{number}", "rb", buffering=0) as file:
            content.compare(file, space.stream(number), file.name, PIECE)
        return time.perf_counter() - begin

    try:
        if group is not None:
            group.write_text(str(os.getpid()))
        sending.send(at_once(read, numbers))
    except (OSError, content.Wrong) as error:
        sending.send(f"{type(error).__name__}: {error}")
