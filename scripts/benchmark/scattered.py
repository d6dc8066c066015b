"""Measurements of reading here and there: in one large file, or one small file after the other."""

import functools
import os
import random

import content
from workspace import RANDOM, SMALL, Sample, Stopwatch, at_once


def random_reads(name, readers=1):
    """A measurement of reads at random places of one descriptor, by several threads in turn."""

    def measure(system, space, number):
        # Other places in each round, the same for all systems.
        places = random.Random(number)
        offsets = [places.randrange(space.sizes.size // RANDOM) * RANDOM for _ in range(space.sizes.random_reads)]
        found = [b""] * len(offsets)

        def read(descriptor, first):
            for index in range(first, len(offsets), readers):
                found[index] = os.pread(descriptor, RANDOM, offsets[index])

        before = space.server.traffic()
        with space.mounted(system) as mount:
            watch = Stopwatch(mount)
            with open(mount.path / "large", "rb", buffering=0) as file:
                at_once(functools.partial(read, file.fileno()), range(readers))
                samples = {name: watch.sample()}
            if before is not None:
                fetched = (space.server.traffic() - before).sent("getObject")
                samples[f"{name}-fetched"] = Sample(count=fetched / (RANDOM * len(offsets)))
        if any(body != space.large.read(offset, RANDOM) for body, offset in zip(found, offsets)):
            raise content.Wrong(f"{system.name}: wrong bytes from a random read")
        return samples

    return measure


def small_files(name, readers=1):
    """A measurement of opening, reading and closing small files, by several threads in turn."""

    def measure(system, space, _):
        found = [b""] * space.sizes.reads

        def read(first):
            for number in range(first, len(found), readers):
                with open(mount.path / "small" / space.small_name(number), "rb", buffering=0) as file:
                    found[number] = file.read(2 * SMALL)

        with space.mounted(system) as mount:
            before = space.server.traffic()
            watch = Stopwatch(mount)
            at_once(read, range(readers))
            samples = {name: watch.sample()}
            if before is not None:
                samples[f"{name}-requests"] = Sample(count=(space.server.traffic() - before).requests / len(found))
        if any(body != space.small(number) for number, body in enumerate(found)):
            raise content.Wrong(f"{system.name}: wrong bytes read from a small file")
        return samples

    return measure
