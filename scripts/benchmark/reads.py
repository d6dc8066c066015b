"""Measurements of idling and of reading from front to end. Each mounts anew, and all but one with an empty cache."""

import contextlib
import os
import subprocess
import time

import bare
import content
import processes
from workspace import Sample, Stopwatch, at_once

GIB = 1 << 30


def idle(system, space, _):
    with space.mounted(system) as mount:
        os.statvfs(mount.path)
        time.sleep(2)
        return {"idle": Sample(peak=mount.resident)}


def compare(path, expected, system):
    """What the kernel was given lies in its page cache now."""
    with open(path, "rb", buffering=0) as file:
        content.compare(file, expected, f"{system.name}: read {path.name}")


def sequential(system, space, _):
    space.warm_up("large", space.large)
    with space.mounted(system) as mount:
        path = mount.path / "large"
        watch = Stopwatch(mount)
        bare.read_file(path)
        first = watch.sample()
        time.sleep(1)
        after = Sample(peak=mount.resident)
        watch = Stopwatch(mount)
        bare.read_file(path)
        again = watch.sample()
        compare(path, space.large, system)
    per_gib = Sample(cpu=first.cpu * GIB / space.sizes.size)
    return {"read": first, "read-cpu": per_gib, "resident": after, "again": again}


def four(system, space, _):
    """Four files at once."""
    numbers = range(4)
    for number in numbers:
        space.warm_up(f"stream-{number}", space.stream(number))
    with space.mounted(system) as mount:
        paths = [mount.path / f"stream-{number}" for number in numbers]
        watch = Stopwatch(mount)
        at_once(bare.read_file, paths)
        sample = watch.sample()
        for number in numbers:
            compare(paths[number], space.stream(number), system)
    return {"read-4": sample}


def over_line(system, space, _):
    """The large object over a line, and of that its second and third quarter: as far ahead as waysfs is at the
    beginning of these, it is at their end, so what it has fetched meanwhile is as long."""
    half = space.sizes.size // 2
    with space.mounted(system) as mount:
        whole = Stopwatch(mount)
        with open(mount.path / "large", "rb", buffering=0) as file:
            read_exactly(file, half // 2)
            middle = Stopwatch(mount)
            read_exactly(file, half)
            samples = {"window": middle.sample()}
            read_exactly(file, half // 2)
        samples["read-net"] = whole.sample()
        compare(mount.path / "large", space.large, system)
    return samples


def read_exactly(file, length):
    """Reads so many bytes, a multiple of a block, and drops them."""
    buffer = bytearray(content.BLOCK)
    view = memoryview(buffer)
    while length:
        count = file.readinto(view[: min(length, len(buffer))])
        if not count:
            raise content.Wrong(f"{file.name}: ends too early")
        length -= count


def warm(system, space, _):
    """The large object after a remount, with what the mount before has left in its cache; and again."""
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(space.cache(system))
        with space.mounted(system, cache=cache) as mount:
            watch = Stopwatch(mount)
            bare.read_file(mount.path / "large")
            samples = {"fill": watch.sample()}
            # What came faster than the disk takes it may be missing.
            result = subprocess.run([system.program, "warm", mount.path / "large"], capture_output=True, text=True)
            if result.returncode != 0:
                raise processes.Failed(f"waysfs warm: {result.stderr}")
        # Read-only, the kernel reads by itself what is whole (passthrough).
        for row, options in (("warm", ()), ("passed", ("--read-only",))):
            bare.leave_on_disk(cache)
            with space.mounted(system.having((*system.options, *options)), cache=cache) as mount:
                watch = Stopwatch(mount)
                bare.read_file(mount.path / "large")
                samples[row], watch = watch.sample(), Stopwatch(mount)
                bare.read_file(mount.path / "large")
                samples[f"{row}-again"] = watch.sample()
                compare(mount.path / "large", space.large, system)
    return samples
