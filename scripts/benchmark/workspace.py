"""What the measurements share: sizes, samples, the bucket with what is read, and mounts."""

import concurrent.futures
import contextlib
import dataclasses
import os
import time

import content
import systems

SMALL = 4 << 10
RANDOM = 64 << 10


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is read and written.

    size: bytes of the large file.
    objects: in the directory that is listed; and in the larger one, `many`.
    tree: objects in 550 directories.
    reads: small files that are read; and random reads are `random_reads`.
    files: small files that are written.
    patched: bytes of the object of which 4 KiB change.
    parallel: bytes of each of the files that are written at once, which are `writers`.
    streams: files of a quarter of `size` that are read at once.
    """

    size: int
    objects: int
    many: int
    tree: int
    reads: int
    random_reads: int
    files: int
    patched: int
    parallel: int
    writers: int = 8
    streams: int = 32


@dataclasses.dataclass
class Sample:
    """One measurement of one system: seconds, bytes, and for some rows a number of something else. None where a row
    has no such number."""

    wall: float = None
    cpu: float = None
    peak: int = None
    count: float = None


class Stopwatch:
    """Takes samples of a mount: time, CPU seconds of the daemon, and the most memory it had."""

    def __init__(self, mount):
        self._mount = mount
        self._cpu = mount.cpu
        self._begin = time.perf_counter()

    def sample(self):
        wall = time.perf_counter() - self._begin
        return Sample(wall, self._mount.cpu - self._cpu, self._mount.peak)


def at_once(work, items):
    """Does the work for each item in a thread of its own, and returns the results in order."""
    with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        return [done.result() for done in [pool.submit(work, item) for item in items]]


class Workspace:
    """The bucket with what is read, and the directory where systems are mounted."""

    # Directories of the tree: so many, so many in each, and files in the latter only.
    TREE = (50, 10)

    def __init__(self, server, directory, sizes):
        self.server = server
        self.bucket = server.bucket
        self.directory = directory
        self.sizes = sizes
        self.large = content.Content(sizes.size)
        self.patched = content.Patched(self.large.other(0, sizes.patched))

    def small(self, number):
        return self.large.read(number * content.BLOCK % self.sizes.size, SMALL)

    @staticmethod
    def small_name(number):
        return f"file-{number:05}"

    def tree_name(self, number):
        """The path below `tree` of one of its files."""
        outer, inner = self.TREE
        return f"d{number % outer:02}/d{number // outer % inner}/{self.small_name(number)}"

    def stream(self, number):
        """What the object `stream-NUMBER` has: a range of the large one, another for each."""
        length = self.sizes.size // 4
        blocks = (self.sizes.size - length) // content.BLOCK
        return self.large.other(number * (blocks // max(self.sizes.streams - 1, 1)), length)

    def prepare(self, keys):
        """Stores what the named preparations need, for all systems the same."""
        for key, large in (("large", self.large), ("patched", self.patched)):
            if key in keys:
                self.bucket.put_content(key, large)
                self.warm_up(key, large)
        if "local" in keys:
            with open(self.local, "wb") as file:
                for block in self.large.blocks():
                    file.write(block)
        for number in range(self.sizes.streams if "streams" in keys else 4 if "four" in keys else 0):
            stream = self.stream(number)
            self.bucket.copy("large", stream.first * content.BLOCK, stream.size, f"stream-{number}")
        for folder, count, name in (
            ("list", self.sizes.objects, self.small_name), ("many", self.sizes.many, self.small_name),
            ("tree", self.sizes.tree, self.tree_name),
        ):
            if folder in keys:
                paths = [f"{folder}/{name(number)}" for number in range(count)]
                self.bucket.put_many((path, path.encode()) for path in paths)
        if "small" in keys:
            self.bucket.put_many((f"small/{self.small_name(n)}", self.small(n)) for n in range(self.sizes.reads))

    @property
    def local(self):
        """A file on the disk of the caches with what the large object has."""
        return self.directory / "local"

    def warm_up(self, key, expected):
        """Brings a large object into the server's page cache, which is not what is measured."""
        with self.bucket.open(key) as stream:
            content.compare(stream, expected, "the server")

    def cache(self, system):
        return systems.cache_directory(system, self.directory)

    @contextlib.contextmanager
    def mounted(self, system, **options):
        # What was written before must not be on its way to the disk while this is measured.
        os.sync()
        with systems.mounted(system, self.directory, **options) as mount:
            yield mount
