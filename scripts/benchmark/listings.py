"""Measurements of listing and looking at names that another client has put into the bucket."""

import os
import subprocess

import content
from workspace import Sample, Stopwatch

# The names that are looked at again.
_KNOWN = 1_000


def _output(*command):
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    result = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    return result.stdout.splitlines()


def directory(row, folder, count):
    """A measurement of `ls -lU` of a directory with so many objects."""

    def measure(system, space, _):
        with space.mounted(system) as mount:
            watch = Stopwatch(mount)
            lines = _output("ls", "-lU", mount.path / folder)
            sample = watch.sample()
        # Mode, links, owner, group, size, and the name at the end; the first line is the total.
        fields = [line.split() for line in lines[1:]]
        expected = [(name, len(f"{folder}/{name}")) for name in map(space.small_name, range(count))]
        if sorted((line[-1], int(line[4])) for line in fields) != expected:
            raise content.Wrong(f"{system.name}: the listing is not what is in the bucket")
        return {row: sample}

    return measure


def tree(system, space, _):
    """`find -type f`, and then a look at some of what it has found."""
    expected = sorted(space.tree_name(number) for number in range(space.sizes.tree))
    with space.mounted(system) as mount:
        watch = Stopwatch(mount)
        lines = _output("find", mount.path / "tree", "-type", "f", "-printf", "%P\n")
        samples = {"find": watch.sample()}
        if sorted(lines) != expected:
            raise content.Wrong(f"{system.name}: find has not found what is in the bucket")
        before, watch = space.server.traffic(), Stopwatch(mount)
        for path in expected[:_KNOWN]:
            if os.stat(mount.path / "tree" / path).st_size != len(f"tree/{path}"):
                raise content.Wrong(f"{system.name}: the size of {path} is wrong")
        samples["stat"] = watch.sample()
        if before is not None:
            samples["stat-requests"] = Sample(count=(space.server.traffic() - before).requests)
    return samples
