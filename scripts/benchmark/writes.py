"""Measurements of writing. Each mounts anew with an empty cache, and takes two times: until the last `close` has
returned, and until the bucket has all, as another client sees it."""

import os
import random

import content
import processes
from workspace import SMALL, Sample, Stopwatch, at_once

GIB = 1 << 30
# How long anything may take to reach the bucket.
LIMIT = 600


def write_file(path, source):
    with open(path, "wb", buffering=0) as file:
        for block in source.blocks():
            if file.write(block) != len(block):
                raise content.Wrong(f"{path}: write was short")


def sequential_write(system, space, number):
    key = f"written-{system.name}-{number}"
    try:
        with space.mounted(system) as mount:
            watch = Stopwatch(mount)
            write_file(mount.path / key, space.large)
            closed = watch.sample()
            processes.wait_until(lambda: space.bucket.size(key) == space.sizes.size, LIMIT, f"{key} is not stored")
            stored = watch.sample()
        with space.bucket.open(key) as stream:
            content.compare(stream, space.large, f"{system.name}: written object")
    finally:
        space.bucket.delete([key])
    return {"close": closed, "stored": stored, "cpu": Sample(cpu=stored.cpu * GIB / space.sizes.size)}


def patch(system, space, number):
    """Changes 4 KiB in the middle of the object that all systems change in turn."""
    place = space.sizes.patched // 2
    bytes_ = random.Random(f"{system.name} {number}").randbytes(SMALL)
    before = space.bucket.etag("patched")
    with space.mounted(system) as mount:
        watch = Stopwatch(mount)
        with open(mount.path / "patched", "r+b", buffering=0) as file:
            if os.pwrite(file.fileno(), bytes_, place) != SMALL:
                raise content.Wrong(f"{system.name}: write was short")
        closed = watch.sample()
        processes.wait_until(lambda: space.bucket.etag("patched") != before, LIMIT, "the patch is not stored")
        stored = watch.sample()
    space.patched.patch(place, bytes_)
    with space.bucket.open("patched") as stream:
        content.compare(stream, space.patched, f"{system.name}: patched object")
    return {"patch-close": closed, "patch": stored}


def small_files(name, writers):
    """A measurement of writing small files, from several threads in turn: the rows `NAME-close` and `NAME`."""

    def measure(system, space, number):
        folder = f"{name}-{system.name}-{number}"
        numbers = range(space.sizes.files)
        expected = {f"{folder}/{space.small_name(n)}": SMALL for n in numbers}

        def write(first):
            for n in numbers[first::writers]:
                with open(mount.path / folder / space.small_name(n), "wb", buffering=0) as file:
                    file.write(space.small(n))

        def is_stored():
            sizes = space.bucket.sizes(f"{folder}/")
            return all(sizes.get(key) == size for key, size in expected.items())

        try:
            with space.mounted(system) as mount:
                os.mkdir(mount.path / folder)
                watch = Stopwatch(mount)
                at_once(write, range(writers))
                closed = watch.sample()
                processes.wait_until(is_stored, LIMIT, f"{folder} is not stored", interval=0.05)
                stored = watch.sample()
            for n in numbers:
                with space.bucket.open(f"{folder}/{space.small_name(n)}") as stream:
                    if stream.read() != space.small(n):
                        raise content.Wrong(f"{system.name}: wrong bytes in a small file")
        finally:
            space.bucket.delete([*expected, f"{folder}/"])
        return {f"{name}-close": closed, name: stored}

    return measure


def parallel_writes(system, space, number):
    """Writes several large files at once, which is about memory."""
    keys = [f"parallel-{system.name}-{number}-{index}" for index in range(space.sizes.writers)]
    # Other bytes in each file, so that none can be taken for another.
    sources = [space.large.other(1000 * (index + 1), space.sizes.parallel) for index in range(space.sizes.writers)]
    try:
        with space.mounted(system) as mount:
            watch = Stopwatch(mount)
            at_once(lambda index: write_file(mount.path / keys[index], sources[index]), range(len(keys)))
            processes.wait_until(
                lambda: all(space.bucket.size(key) == space.sizes.parallel for key in keys), LIMIT, "not all is stored"
            )
            sample = watch.sample()
        for key, source in zip(keys, sources):
            with space.bucket.open(key) as stream:
                content.compare(stream, source, f"{system.name}: {key}")
    finally:
        space.bucket.delete(keys)
    return {"memory": sample}

