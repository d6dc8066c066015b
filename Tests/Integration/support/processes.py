"""What is mounted, and which processes of waysfs live: read from /proc."""

import os
import signal
from pathlib import Path

from support.commands import eventually


def mount_points(below=None):
    """Mount points of waysfs, those below a directory only when one is given; the innermost first."""
    points = []
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            left, _, right = line.partition(b" - ")
            if not right.startswith(b"fuse.waysfs "):
                continue
            # The kernel writes spaces and the like as octal numbers.
            point = left.split(b" ")[4].decode("unicode_escape").encode("latin-1")
            points.append(Path(os.fsdecode(point)))
    if below is not None:
        points = [point for point in points if point.is_relative_to(below)]
    return sorted(points, reverse=True)


def is_mounted(point):
    return Path(point) in mount_points()


def daemons(binary, below):
    """Pids of processes that serve a mount at or below a directory, as {pid: mount point}."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            arguments = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[0] != os.fsencode(binary) or b"mount" not in arguments[1:2]:
            continue
        for argument in arguments[2:]:
            path = Path(os.fsdecode(argument))
            if path.is_relative_to(below) and path.name.startswith("mount"):
                found[int(entry)] = path
    return found


def is_alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until_ended(pid):
    eventually(lambda: not is_alive(pid), f"process {pid} ends")


def kill_all(binary, below):
    """Makes an end of every mount process below a directory; returns what was killed."""
    victims = daemons(binary, below)
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return victims


def _status_kib(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no {name}")


def resident_kib(pid):
    """Resident memory of a process in KiB."""
    return _status_kib(pid, "VmRSS")


def peak_resident_kib(pid):
    """The most resident memory that a process ever had, in KiB."""
    return _status_kib(pid, "VmHWM")
