"""A program that changes files in a mount, and notes what it was told is done: what a crash is checked against.

Run as `python -m support.crash_writer DIRECTORY MANIFEST SEED LARGE`. Before an operation it notes what the directory
may look like afterwards, as a list of levels that build on each other; after each call that returned 0, how many of the
levels are promised now. Each line is on the disk before the next call is made. It ends with the first error, or between
two operations when MANIFEST.stop is there. (A signal would end a call with EINTR.)
"""

import contextlib
import errno
import json
import os
import random
import sys
import time

from support.versions import patched, render, size, truncated, whole

SIZES = [0, 1, 4095, 4096, 10_000, 100_000, 300_000]
MIB = 1 << 20
PIECES = [4096, 65_536, MIB]


class Writer:
    def __init__(self, root, manifest, seed, large):
        self.root = root
        self.manifest = manifest
        self.source = random.Random(seed)
        self.large = large
        self.label = f"{seed % 1000}:"
        # Name: runs. Directories end in a slash, as their markers do.
        self.world = {}
        self.levels = []
        self.version = 0
        self.during = ""

    # MARK: The manifest

    def note(self, **line):
        self.manifest.write(json.dumps(line) + "\n")
        self.manifest.flush()
        os.fsync(self.manifest.fileno())

    @contextlib.contextmanager
    def operation(self, words, *levels):
        """Everything up to the last level is promised when the body has ended."""
        self.during, self.levels = words, levels
        self.note(begin=words, levels=levels)
        yield
        self.promise(len(levels))

    def promise(self, count):
        self.note(done=count)
        for name, runs in (item for level in self.levels[:count] for item in level.items()):
            self.world.pop(name, None)
            if runs is not None:
                self.world[name] = runs

    # MARK: What it does

    def run(self):
        while not os.path.exists(f"{self.manifest.name}.stop"):
            kinds = {
                self.write: 6 if len(self.files()) < 25 else 3,
                self.patch: 4,
                self.append: 3,
                self.truncate: 1,
                self.rename: 3,
                self.unlink: 2,
                self.make_directory: 1,
                self.rename_directory: 1,
            }
            self.source.choices(list(kinds), kinds.values())[0]()

    def files(self):
        return [name for name in self.world if not name.endswith("/")]

    def directories(self):
        return [name for name in self.world if name.endswith("/")]

    def any_name(self):
        return self.source.choice(["", *self.directories()]) + f"f{self.source.randrange(8)}"

    def next_version(self):
        self.version += 1
        return self.version

    def length(self):
        if self.large and self.source.random() < 0.5:
            return self.source.randrange(9 * MIB, 20 * MIB)
        return self.source.choice(SIZES)

    def write_all(self, descriptor, runs, start, end):
        piece = self.source.choice(PIECES)
        # One of them, at most, is short: a call for each 4 KiB of a large file would be all that a round does.
        piece = max(piece, (end - start) // 64)
        for offset in range(start, end, piece):
            content = render(runs, offset, min(end, offset + piece))
            while content:
                content = content[os.write(descriptor, content) :]

    def write(self):
        """A new file, or an old one from its beginning; now and then with an fsync half way."""
        name, version, length = self.any_name(), self.next_version(), self.length()
        full = whole(self.label + name, version, length)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        levels = []
        exclusively = name not in self.world and self.source.random() < 0.5
        if exclusively:
            # An exclusive creation shows at once: the file may be there, empty.
            flags |= os.O_EXCL
            levels.append({name: []})
        half = self.source.randrange(length + 1) if self.source.random() < 0.3 else None
        if half is not None:
            levels.append({name: truncated(full, half)})
        levels.append({name: full})
        with self.operation(f"write {name} v{version}", *levels):
            descriptor = os.open(os.path.join(self.root, name), flags, 0o644)
            if half is not None:
                self.write_all(descriptor, full, 0, half)
                os.fsync(descriptor)
                self.promise(len(levels) - 1)
            self.write_all(descriptor, full, half or 0, length)
            os.close(descriptor)

    def patch(self):
        if not self.files():
            return self.write()
        name, runs = self.source.choice(self.files()), None
        runs, patches, levels = self.world[name], [], []
        for _ in range(self.source.choice([1, 1, 2, 3])):
            version = self.next_version()
            start = self.source.randrange(size(runs) + 5000)
            end = start + self.source.choice([1, 100, 4096, 20_000])
            runs = patched(runs, self.label + name, version, start, end)
            patches.append((runs, start, end))
        synced = self.source.random() < 0.4
        if synced:
            levels = [{name: after} for after, _, _ in patches]
        else:
            levels = [{name: runs}]
        with self.operation(f"patch {name} v{self.version}", *levels):
            descriptor = os.open(os.path.join(self.root, name), os.O_RDWR)
            for number, (after, start, end) in enumerate(patches):
                os.pwrite(descriptor, render(after, start, end), start)
                if synced:
                    os.fsync(descriptor)
                    self.promise(number + 1)
            os.close(descriptor)

    def append(self):
        if not self.files():
            return self.write()
        name, version = self.source.choice(self.files()), self.next_version()
        start = size(self.world[name])
        end = start + self.source.choice([1, 4096, 50_000])
        runs = patched(self.world[name], self.label + name, version, start, end)
        with self.operation(f"append {name} v{version}", {name: runs}):
            descriptor = os.open(os.path.join(self.root, name), os.O_WRONLY | os.O_APPEND)
            self.write_all(descriptor, runs, start, end)
            os.close(descriptor)

    def truncate(self):
        if not self.files():
            return self.write()
        name = self.source.choice(self.files())
        length = self.source.randrange(size(self.world[name]) + 5000)
        with self.operation(f"truncate {name} {length}", {name: truncated(self.world[name], length)}):
            os.truncate(os.path.join(self.root, name), length)

    def rename(self):
        if not self.files():
            return self.write()
        name, target = self.source.choice(self.files()), self.any_name()
        if name == target:
            return None
        with self.operation(f"rename {name} {target}", {name: None, target: self.world[name]}):
            os.rename(os.path.join(self.root, name), os.path.join(self.root, target))

    def unlink(self):
        if not self.files():
            return self.write()
        name = self.source.choice(self.files())
        with self.operation(f"unlink {name}", {name: None}):
            os.unlink(os.path.join(self.root, name))

    def make_directory(self):
        name = f"d{self.source.randrange(4)}/"
        if name in self.world:
            return self.write()
        with self.operation(f"mkdir {name}", {name: []}):
            os.mkdir(os.path.join(self.root, name))

    def rename_directory(self):
        if not self.directories():
            return self.make_directory()
        name, target = self.source.choice(self.directories()), f"d{self.source.randrange(4, 1000)}/"
        if target in self.world:
            return None
        level = {}
        for path in [path for path in self.world if path.startswith(name)]:
            level[path] = None
            level[target + path.removeprefix(name)] = self.world[path]
        with self.operation(f"rename {name} {target}", level):
            os.rename(os.path.join(self.root, name), os.path.join(self.root, target))


def main():
    root, manifest, seed, large = sys.argv[1:]
    with open(manifest, "a") as file:
        writer = Writer(root, file, int(seed), large == "large")
        try:
            os.mkdir(root)
            writer.run()
        except OSError as error:
            name = errno.errorcode.get(error.errno, str(error))
            writer.note(error=name, during=writer.during, at=time.monotonic())


if __name__ == "__main__":
    main()
