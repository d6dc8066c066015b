"""What is measured. Each measurement mounts anew with an empty cache; what was read or stored is compared with what it
should be after the clock has stopped."""

import contextlib
import dataclasses
import os
import random
import subprocess
import time

import content
import processes
import systems

SMALL = 4 << 10
RANDOM = 64 << 10
# rclone answers close when its cache has the bytes, the others when the bucket has them.
UNCOMPARED = {"close"}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is read and written."""

    size: int
    objects: int
    files: int
    reads: int


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

    def small(self, number):
        return self.large.read(number * content.BLOCK % self.sizes.size, SMALL)

    @staticmethod
    def small_name(number):
        return f"file-{number:05}"

    def prepare(self, keys):
        """Stores what the named preparations need, for all systems the same."""
        if "large" in keys:
            self.bucket.put_content("large", self.large)
            self.warm_up()
        if "many" in keys:
            names = [f"many/{self.small_name(number)}" for number in range(self.sizes.objects)]
            self.bucket.parallel(lambda name: self.bucket.put(name, name.encode()), names)
        if "small" in keys:
            numbers = range(self.sizes.files)
            self.bucket.parallel(lambda n: self.bucket.put(f"small/{self.small_name(n)}", bytes(self.small(n))), numbers)

    def warm_up(self):
        """Brings the large object into the server's page cache, which is not what is measured."""
        with self.bucket.open("large") as stream:
            content.compare(stream, self.large, "the server")

    @contextlib.contextmanager
    def mounted(self, system):
        # What was written before must not be on its way to the disk while this is measured.
        os.sync()
        with systems.mounted(system, self.directory) as mount:
            yield mount


def idle(space, system, _):
    with space.mounted(system) as mount:
        os.statvfs(mount.path)
        time.sleep(2)
        return {"idle": Sample(peak=mount.resident)}


def sequential_read(space, system, _):
    space.warm_up()
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


def sequential_write(space, system, number):
    key = f"written-{system.name}-{number}"
    try:
        with space.mounted(system) as mount:
            watch = Stopwatch(mount)
            with open(mount.path / key, "wb", buffering=0) as file:
                for block in space.large.blocks():
                    if file.write(block) != len(block):
                        raise content.Wrong(f"{system.name}: write was short")
            closed = watch.sample()
            processes.wait_until(lambda: space.bucket.size(key) == space.sizes.size, 600, f"{key} is not in the bucket")
            stored = watch.sample()
        with space.bucket.open(key) as stream:
            content.compare(stream, space.large, f"{system.name}: written object")
    finally:
        space.bucket.delete([key])
    return {"close": closed, "stored": stored}


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


def write_small(space, system, number):
    folder = f"new-{system.name}-{number}"
    numbers = range(space.sizes.files)
    expected = {f"{folder}/{space.small_name(n)}": SMALL for n in numbers}

    def is_stored():
        sizes = space.bucket.sizes(f"{folder}/")
        return all(sizes.get(key) == size for key, size in expected.items())

    try:
        with space.mounted(system) as mount:
            os.mkdir(mount.path / folder)
            watch = Stopwatch(mount)
            for n in numbers:
                with open(mount.path / folder / space.small_name(n), "wb", buffering=0) as file:
                    file.write(space.small(n))
            processes.wait_until(is_stored, 600, f"{folder} is not in the bucket")
            sample = watch.sample()
        for n in numbers:
            with space.bucket.open(f"{folder}/{space.small_name(n)}") as stream:
                if stream.read() != space.small(n):
                    raise content.Wrong(f"{system.name}: wrong bytes in a small file")
    finally:
        space.bucket.delete([*expected, f"{folder}/"])
    return {"small-write": sample}


def read_small(space, system, _):
    with space.mounted(system) as mount:
        found = []
        watch = Stopwatch(mount)
        for n in range(space.sizes.files):
            with open(mount.path / "small" / space.small_name(n), "rb", buffering=0) as file:
                found.append(file.read())
        sample = watch.sample()
    if any(body != space.small(n) for n, body in enumerate(found)):
        raise content.Wrong(f"{system.name}: wrong bytes read from a small file")
    return {"small-read": sample}


def random_reads(space, system, number):
    # Other places in each round, the same for all systems.
    places = random.Random(number)
    offsets = [places.randrange(space.sizes.size // RANDOM) * RANDOM for _ in range(space.sizes.reads)]
    with space.mounted(system) as mount:
        watch = Stopwatch(mount)
        with open(mount.path / "large", "rb", buffering=0) as file:
            found = [os.pread(file.fileno(), RANDOM, offset) for offset in offsets]
        sample = watch.sample()
    if any(body != space.large.read(offset, RANDOM) for body, offset in zip(found, offsets)):
        raise content.Wrong(f"{system.name}: wrong bytes from a random read")
    return {"random": sample}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A function and the rows that it fills. `needs` is what has to be in the bucket."""

    name: str
    measure: object
    needs: tuple
    rows: dict


def measurements(sizes):
    large = describe(sizes.size)
    return [
        Measurement("idle", idle, (), {"idle": "idle memory"}),
        Measurement(
            "read", sequential_read, ("large",),
            {"read": f"read {large}, cold", "resident": "  memory a second later"},
        ),
        Measurement(
            "write", sequential_write, (), {"close": f"write {large}: to close", "stored": "  to stored (*)"}
        ),
        Measurement("list", list_directory, ("many",), {"list": f"ls -lU of {sizes.objects:,}, cold"}),
        Measurement(
            "small-write", write_small, (), {"small-write": f"write {sizes.files} x 4 KiB (*)"}
        ),
        Measurement("small-read", read_small, ("small",), {"small-read": f"read {sizes.files} x 4 KiB, cold"}),
        Measurement(
            "random", random_reads, ("large",), {"random": f"{sizes.reads} random 64 KiB, cold"}
        ),
    ]


def describe(size):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
