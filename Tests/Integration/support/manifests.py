"""What a crash writer was promised, against what is in the bucket."""

import json
import subprocess
import sys
from pathlib import Path

from support.commands import eventually
from support.versions import describe, render, size

SUPPORT = Path(__file__).parent.parent


class CrashWriter:
    """A writer that runs beside the test, and what its manifest says."""

    def __init__(self, root, manifest, seed, large=False):
        self.manifest = manifest
        manifest.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.crash_writer", root, manifest, str(seed), "large" if large else "small"],
            cwd=SUPPORT,
            stdin=subprocess.DEVNULL,
        )

    def lines(self):
        return [json.loads(line) for line in self.manifest.read_text().splitlines()]

    def has_begun(self):
        return self.manifest.stat().st_size > 0

    def has_done(self, count):
        """Whether it has done that many operations; fails when a call has failed."""
        assert self.process.poll() is None, self.error()
        return self.promised()[0] >= count

    def wait(self):
        """It ends with the first call that fails."""
        eventually(lambda: self.process.poll() is not None, "the writer notices that the mount has died")

    def stop(self):
        """Lets it end the operation under way; fails when a call has failed."""
        self.manifest.with_name(f"{self.manifest.name}.stop").touch()
        eventually(lambda: self.process.poll() is not None, "the writer ends")
        assert self.error() is None, self.error()

    def take_away(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def promised(self):
        """(how many operations were done, the worlds that may be there now, the operation that was under way)."""
        world, levels, done, during, count = {}, [], 0, None, 0
        for line in self.lines():
            if "begin" in line:
                for level in levels:
                    world = _after(world, level)
                levels, done, during = line["levels"], 0, line["begin"]
            elif "done" in line:
                done = line["done"]
                count += done == len(levels)
        worlds = [world]
        for level in levels:
            worlds.append(_after(worlds[-1], level))
        return count, worlds[done:], during if done < len(levels) else None

    def error(self):
        """The call that ended it, as (name, operation, moment)."""
        line = self.lines()[-1]
        return (line["error"], line["during"], line["at"]) if "error" in line else None


def _after(world, level):
    return {name: runs for name, runs in {**world, **level}.items() if runs is not None}


def differences(world, sizes, get):
    """How the bucket differs from one world; `sizes` has what is there, `get` gives the bytes."""
    found = [f"{name} is not there" for name in world if name not in sizes]
    found += [f"{name} should not be there ({count} bytes)" for name, count in sizes.items() if name not in world]
    for name in world.keys() & sizes.keys():
        if size(world[name]) != sizes[name] or render(world[name]) != get(name):
            found.append(f"{name} has {describe(get(name))}; promised: {size(world[name])} bytes, {world[name]}")
    return found


def problems(writer, sizes, get):
    """Empty when what is there is one of the worlds that were promised."""
    _, worlds, during = writer.promised()
    cached = {}

    def get_once(name):
        if name not in cached:
            cached[name] = get(name)
        return cached[name]

    results = [differences(world, sizes, get_once) for world in worlds]
    if [] in results:
        return []
    lines = [f"{writer.manifest.name}: under way was {during!r}; {len(worlds)} worlds would be right"]
    for number, result in enumerate(results):
        lines += [f"  world {number}: {line}" for line in result[:8]]
    begun = [line["begin"] for line in writer.lines() if "begin" in line]
    return [*lines, "  its last operations: " + "; ".join(begun[-25:])]
