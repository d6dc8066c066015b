"""Measurements of idling, reading and listing. Each mounts anew with an empty cache."""

import os
import random
import subprocess
import time

import content
from workspace import RANDOM, Sample, Stopwatch


def idle(space, system, _):
    with space.mounted(system) as mount:
        os.statvfs(mount.path)
        time.sleep(2)
        return {"idle": Sample(peak=mount.resident)}


def sequential_read(space, system, _):
    space.warm_up("large", space.large)
    with space.mounted(system) as mount:
        buffer = bytearray(content.BLOCK)
        watch = Stopwatch(mount)
        with open(mount.path / "large", "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        sample = watch.sample()
        time.sleep(1)
        after = Sample(peak=mount.resident)
        # What the kernel was given lies in its page cache now.
        with open(mount.path / "large", "rb", buffering=0) as file:
            content.compare(file, space.large, f"{system.name}: read")
    return {"read": sample, "resident": after}


def list_directory(space, system, _):
    with space.mounted(system) as mount:
        watch = Stopwatch(mount)
        listing = subprocess.run(
            ["ls", "-lU", mount.path / "many"], stdout=subprocess.PIPE, env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
            check=True, text=True,
        )
        sample = watch.sample()
    # Mode, links, owner, group, size, and the name at the end; the first line is the total.
    fields = [line.split() for line in listing.stdout.splitlines()[1:]]
    names = map(space.small_name, range(space.sizes.objects))
    if sorted((line[-1], int(line[4])) for line in fields) != [(name, len(f"many/{name}")) for name in names]:
        raise content.Wrong(f"{system.name}: the listing is not what is in the bucket")
    return {"list": sample}


def read_small(space, system, _):
    with space.mounted(system) as mount:
        found = []
        watch = Stopwatch(mount)
        for n in range(space.sizes.reads):
            with open(mount.path / "small" / space.small_name(n), "rb", buffering=0) as file:
                found.append(file.read())
        sample = watch.sample()
    if any(body != space.small(n) for n, body in enumerate(found)):
        raise content.Wrong(f"{system.name}: wrong bytes read from a small file")
    return {"small-read": sample}


def random_reads(space, system, number):
    # Other places in each round, the same for all systems.
    places = random.Random(number)
    offsets = [places.randrange(space.sizes.size // RANDOM) * RANDOM for _ in range(space.sizes.random_reads)]
    with space.mounted(system) as mount:
        watch = Stopwatch(mount)
        with open(mount.path / "large", "rb", buffering=0) as file:
            found = [os.pread(file.fileno(), RANDOM, offset) for offset in offsets]
        sample = watch.sample()
    if any(body != space.large.read(offset, RANDOM) for body, offset in zip(found, offsets)):
        raise content.Wrong(f"{system.name}: wrong bytes from a random read")
    return {"random": sample}
