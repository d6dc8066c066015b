"""What the measurements share: sizes, samples, the bucket with what is read, and mounts."""

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
    objects: in the directory that is listed.
    reads: small files that are read; and random reads are `random_reads`.
    files: small files that are written.
    patched: bytes of the object of which 4 KiB change.
    parallel: bytes of each of the files that are written at once, which are `writers`.
    """

    size: int
    objects: int
    reads: int
    random_reads: int
    files: int
    patched: int
    parallel: int
    writers: int = 8


@dataclasses.dataclass
class Sample:
    """One measurement of one system: seconds and bytes. None where a row has no such number."""

    wall: float = None
    cpu: float = None
    peak: int = None


class Stopwatch:
    """Takes samples of a mount: time, CPU seconds of the daemon, and the most memory it had."""

    def __init__(self, mount):
        self._mount = mount
        self._cpu = mount.cpu
        self._begin = time.perf_counter()

    def sample(self):
        wall = time.perf_counter() - self._begin
        return Sample(wall, self._mount.cpu - self._cpu, self._mount.peak)


class Workspace:
    """The bucket with what is read, and the directory where systems are mounted."""

    def __init__(self, bucket, directory, sizes):
        self.bucket = bucket
        self.directory = directory
        self.sizes = sizes
        self.large = content.Content(sizes.size)
        self.patched = content.Patched(self.large.other(0, sizes.patched))

    def small(self, number):
        return self.large.read(number * content.BLOCK % self.sizes.size, SMALL)

    @staticmethod
    def small_name(number):
        return f"file-{number:05}"

    def prepare(self, keys):
        """Stores what the named preparations need, for all systems the same."""
        for key, large in (("large", self.large), ("patched", self.patched)):
            if key in keys:
                self.bucket.put_content(key, large)
                self.warm_up(key, large)
        if "many" in keys:
            names = [f"many/{self.small_name(number)}" for number in range(self.sizes.objects)]
            self.bucket.parallel(lambda name: self.bucket.put(name, name.encode()), names)
        if "small" in keys:
            self.bucket.parallel(
                lambda n: self.bucket.put(f"small/{self.small_name(n)}", bytes(self.small(n))), range(self.sizes.reads)
            )

    def warm_up(self, key, expected):
        """Brings a large object into the server's page cache, which is not what is measured."""
        with self.bucket.open(key) as stream:
            content.compare(stream, expected, "the server")

    @contextlib.contextmanager
    def mounted(self, system):
        # What was written before must not be on its way to the disk while this is measured.
        os.sync()
        with systems.mounted(system, self.directory) as mount:
            yield mount
