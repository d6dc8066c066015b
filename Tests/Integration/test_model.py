"""Random operations on a mount and on a plain directory must agree, step by step.

`WAYSFS_TEST_SEED` repeats a run.
"""

import mmap
import os
import random
import time

import pytest
from support.commands import eventually
from support.errors import outcome
from support.trees import assert_same_trees

NAMES = ["a", "b", "c d", "é", "d1", "d2"]
SIZES = [0, 1, 7, 4095, 4096, 4097, 30_000, 200_000]
# In more than one part; once in a while.
LARGE = 9_000_000
SEED = int(os.environ.get("WAYSFS_TEST_SEED") or time.time_ns() % 1_000_000)


class Model:
    """Two roots, and files that are open in both."""

    def __init__(self, roots, source):
        self.roots, self.source = roots, source
        # Pairs of descriptors.
        self.open = []

    def size(self):
        return LARGE + self.source.randrange(9_000_000) if self.source.random() < 0.004 else self.source.choice(SIZES)

    def content(self):
        return self.source.randbytes(self.size())

    def path(self):
        """A relative path: at the top or in one of the directories that may or may not be there."""
        depth = self.source.choice([0, 0, 1, 1, 2])
        return os.path.join(*[self.source.choice(["d1", "d2"]) for _ in range(depth)], self.source.choice(NAMES))

    def directory(self):
        """The relative path of a directory that may or may not be there."""
        return os.path.join(*[self.source.choice(["d1", "d2", "c d"]) for _ in range(self.source.choice([1, 1, 2]))])

    def both(self, call):
        """Does the same in both roots; what comes out must be the same."""
        mounted, local = (call(root) for root in self.roots)
        assert mounted == local
        return local

    def step(self):
        kinds = {
            self.write: 5,
            self.append: 3,
            self.truncate: 2,
            self.read: 5,
            self.rename: 5,
            self.unlink: 5,
            self.mkdir: 3,
            self.rmdir: 3,
            self.link: 1,
            self.chmod: 1,
            self.list: 2,
            self.stat: 4,
            self.open_file: 4,
            self.use_open_file: 12,
            self.map_file: 4,
            self.close_file: 3,
            self.sync_directory: 1,
        }
        return self.source.choices(list(kinds), kinds.values())[0]()

    # MARK: Operations on paths

    def write(self):
        path, content = self.path(), self.content()
        self.both(lambda root: outcome((root / path).write_bytes, content))
        return f"write {path} {len(content)}"

    def append(self):
        path, content = self.path(), self.content()

        def append(root):
            with open(root / path, "ab") as file:
                file.write(content)

        self.both(lambda root: outcome(append, root))
        return f"append {path} {len(content)}"

    def truncate(self):
        path, size = self.path(), self.size()
        self.both(lambda root: outcome(os.truncate, root / path, size))
        return f"truncate {path} {size}"

    def read(self):
        path = self.path()

        def read(root):
            try:
                return (root / path).read_bytes()
            except OSError as error:
                return error.errno

        self.both(read)
        return f"read {path}"

    def rename(self):
        source, target = self.path(), self.path()
        self.both(lambda root: outcome(os.rename, root / source, root / target))
        return f"rename {source} {target}"

    def unlink(self):
        path = self.path()
        self.both(lambda root: outcome(os.unlink, root / path))
        return f"unlink {path}"

    def mkdir(self):
        path = self.directory()
        self.both(lambda root: outcome(os.mkdir, root / path))
        return f"mkdir {path}"

    def rmdir(self):
        path = self.directory()
        self.both(lambda root: outcome(os.rmdir, root / path))
        return f"rmdir {path}"

    def link(self):
        path, target = self.path(), self.source.choice(NAMES)
        self.both(lambda root: outcome(os.symlink, target, root / path))
        return f"symlink {path} {target}"

    def chmod(self):
        path, mode = self.path(), self.source.choice([0o644, 0o755, 0o600])
        self.both(lambda root: outcome(os.chmod, root / path, mode))
        return f"chmod {path} {mode:o}"

    def list(self):
        path = self.source.choice([".", "d1", "d2"])

        def list(root):
            try:
                return sorted(os.listdir(root / path))
            except OSError as error:
                return error.errno

        self.both(list)
        return f"list {path}"

    def stat(self):
        path = self.path()

        def stat(root):
            try:
                status = os.lstat(root / path)
            except OSError as error:
                return error.errno
            return status.st_mode, status.st_size if not os.path.isdir(root / path) else None

        self.both(stat)
        return f"stat {path}"

    # MARK: Operations on open files

    def open_file(self):
        path = self.path()
        flags = os.O_RDWR | self.source.choice([0, 0, os.O_CREAT, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL])
        descriptors = []

        def open_in(root):
            descriptors.append(os.open(root / path, flags, 0o644))

        if self.both(lambda root: outcome(open_in, root)) == "done":
            self.open.append(descriptors)
        return f"open {path} {flags:o}"

    def use_open_file(self):
        if not self.open:
            return self.open_file()
        number = self.source.randrange(len(self.open))
        offset, content = self.size(), self.content()
        calls = [
            lambda descriptor: os.pwrite(descriptor, content, offset),
            lambda descriptor: os.pread(descriptor, len(content), offset),
            lambda descriptor: os.pread(descriptor, 30_000_000, 0),
            lambda descriptor: os.ftruncate(descriptor, offset),
            lambda descriptor: os.fsync(descriptor),
            lambda descriptor: os.fstat(descriptor).st_size,
        ]
        kind = self.source.randrange(len(calls))
        mounted, local = (calls[kind](descriptor) for descriptor in self.open[number])
        assert mounted == local
        return f"open file {number}: call {kind} at {offset}, {len(content)} bytes"

    def map_file(self):
        """Reads and writes through a shared mapping; with and without msync, since closing the file does the same."""
        if not self.open:
            return self.open_file()
        descriptors = self.source.choice(self.open)
        size = os.fstat(descriptors[1]).st_size
        if size == 0:
            return "map an empty file"
        offset = self.source.randrange(size)
        content = self.source.randbytes(min(self.source.choice(SIZES), size - offset))
        reads, syncs, results = self.source.random() < 0.5, self.source.random() < 0.5, []
        for descriptor in descriptors:
            assert os.fstat(descriptor).st_size == size
            with mmap.mmap(descriptor, size, mmap.MAP_SHARED) as mapped:
                results.append(mapped[:] if reads else None)
                mapped[offset : offset + len(content)] = content
                if syncs:
                    mapped.flush()
        assert results[0] == results[1]
        return f"map {size} bytes: write {len(content)} at {offset}, read {reads}, msync {syncs}"

    def sync_directory(self):
        path = self.source.choice([".", "d1", "d2"])

        def sync(root):
            descriptor = os.open(root / path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        self.both(lambda root: outcome(sync, root))
        return f"fsync of the directory {path}"

    def close_file(self):
        if self.open:
            for descriptor in self.open.pop(self.source.randrange(len(self.open))):
                os.close(descriptor)
        return "close"

    def close_all(self):
        while self.open:
            self.close_file()


def assert_stored(bucket, local):
    """The bucket has what is in a local directory, as another client sees it."""
    paths = [path for path in local.rglob("*") if path.is_symlink() or not path.is_dir()]
    expected = {str(path.relative_to(local)): path for path in paths}
    assert sorted(key for key in bucket.keys() if not key.endswith("/")) == sorted(expected)
    for key, path in expected.items():
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        assert bucket.get(key) == content, key


@pytest.mark.time_limit(240)
@pytest.mark.parametrize(
    "server, operations, options",
    [
        ("seaweedfs", 8000, []),
        # Everything is asked for anew.
        ("seaweedfs", 2500, ["--metadata-ttl", "0"]),
        # Entries expire in the middle of things.
        ("seaweedfs", 4000, ["--metadata-ttl", "20ms"]),
        ("moto", 1500, []),
    ],
    ids=["plain", "no lifetime", "short lifetime", "moto"],
)
def test_random_operations_agree_with_a_local_disk(server, operations, options, mode, new_bucket, mount, local):
    print(f"seed {SEED}: repeat with WAYSFS_TEST_SEED={SEED}")
    bucket = new_bucket(server)
    mounted = mount(bucket, *options, mode=mode)
    model = Model([mounted.path, local], random.Random(SEED))
    history = []
    try:
        for number in range(operations):
            history.append("(unfinished)")
            history[-1] = model.step()
            if len(model.open) > 6:
                model.close_file()
            if number % 500 == 499:
                history.append("remount")
                model.close_all()
                mounted.restart()
                assert_same_trees(mounted.path, local)
                assert_stored(bucket, local)
    except BaseException:
        print(f"after {len(history)} operations, the last of them:", *history[-40:], sep="\n  ")
        raise
    finally:
        model.close_all()
    mounted.restart()
    assert_same_trees(mounted.path, local)
    mounted.unmount()
    assert_stored(bucket, local)
    assert mounted.unsent() == []
    eventually(lambda: bucket.uploads() == [], "no upload is left")
