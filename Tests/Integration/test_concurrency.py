"""Many at once: threads that make, read and remove files, and listings meanwhile."""

import hashlib
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import eventually
from support.errors import outcome, read
from support.processes import is_alive
from support.trees import assert_same_trees

THREADS = 8


def in_threads(work, count=THREADS):
    """Runs `work(number)` in several threads and gives the results; a failure in one fails the test."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_threads_with_files_of_their_own(bucket, mount, local):
    mounted = mount(bucket)

    def work(root, number):
        source = random.Random(number)
        directory = root / f"thread{number}"
        directory.mkdir()
        alive = {}
        for step in range(60):
            name = f"file{source.randrange(12)}"
            action = source.random()
            if action < 0.5 or name not in alive:
                alive[name] = source.randbytes(source.choice([0, 10, 5_000, 100_000]))
                (directory / name).write_bytes(alive[name])
            elif action < 0.7:
                assert (directory / name).read_bytes() == alive[name]
            elif action < 0.85:
                (directory / name).unlink()
                del alive[name]
            else:
                os.rename(directory / name, directory / f"renamed{step}")
                alive[f"renamed{step}"] = alive.pop(name)
        assert sorted(os.listdir(directory)) == sorted(alive)

    in_threads(lambda number: work(mounted.path, number))
    for number in range(THREADS):
        work(local, number)
    assert_same_trees(mounted.path, local)
    mounted.restart()
    assert_same_trees(mounted.path, local)


def test_threads_in_one_directory(bucket, mounted):
    def work(number):
        for step in range(40):
            path = mounted / f"{number}-{step}"
            path.write_bytes(b"%d" % step)
            assert path.read_bytes() == b"%d" % step
            if step % 2:
                path.unlink()

    in_threads(work)
    expected = sorted(f"{number}-{step}" for number in range(THREADS) for step in range(0, 40, 2))
    assert sorted(os.listdir(mounted)) == expected == sorted(bucket.keys())


def test_exclusive_creation_is_won_by_one(mounted):
    def create(number):
        try:
            os.close(os.open(mounted / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return True
        except FileExistsError:
            return False

    for _ in range(10):
        assert in_threads(create).count(True) == 1
        (mounted / "lock").unlink()


def test_a_file_that_is_replaced_again_and_again(mounted):
    """Whoever opens it finds it there, and reads one of the files that had the name, whole.

    The kernel looks a name up twice, not more often, when the file has just lost it: then it is ESTALE.
    """
    contents = [bytes([65 + number]) * 50_000 for number in range(THREADS)]
    (mounted / "target").write_bytes(contents[0])
    done, counts = threading.Event(), [0] * THREADS

    def replace():
        for step in range(30):
            (mounted / "new").write_bytes(contents[step % THREADS])
            os.rename(mounted / "new", mounted / "target")
            # Not to keep step with: the readers must find some files between two changes.
            time.sleep(0.05)
        eventually(lambda: all(counts[1:]), "everybody has read")

    def work(number):
        if number == 0:
            try:
                replace()
            finally:
                done.set()
            return
        while not done.is_set():
            assert outcome(os.stat, mounted / "target") in ("done", "ESTALE")
            content = read(mounted / "target")
            assert content is None or content in contents
            counts[number] += content is not None

    in_threads(work)
    assert os.listdir(mounted) == ["target"]


def test_parallel_readers_of_one_large_file(bucket, mount):
    content = random.Random(1).randbytes(40 << 20)
    bucket.put("large", content)
    path = mount(bucket, "--memory-limit", "32MiB").path / "large"
    expected = hashlib.sha256(content).hexdigest()

    def sequential(number):
        with open(path, "rb", buffering=0) as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << (14 + number % 6)):
                digest.update(piece)
            return digest.hexdigest()

    def scattered(number):
        source = random.Random(number)
        with open(path, "rb", buffering=0) as file:
            for _ in range(60):
                offset, count = source.randrange(len(content)), source.choice([100, 5_000, 300_000])
                assert os.pread(file.fileno(), count, offset) == content[offset : offset + count]
        return expected

    work = lambda number: sequential(number) if number % 2 else scattered(number)
    assert in_threads(work) == [expected] * THREADS


def test_writers_of_one_open_file(bucket, mounted):
    """Each thread writes its own parts of the same file."""
    piece, pieces = 100_000, 200
    with open(mounted / "file", "wb", buffering=0) as file:

        def work(number):
            for index in range(number, pieces, THREADS):
                os.pwrite(file.fileno(), bytes([index % 251]) * piece, index * piece)

        in_threads(work)
    expected = b"".join(bytes([index % 251]) * piece for index in range(pieces))
    assert bucket.get("file") == expected
    assert (mounted / "file").read_bytes() == expected


@pytest.mark.time_limit(120)
def test_listing_3000_entries_while_others_come_and_go(bucket, mount):
    """What is there from the beginning to the end is listed once, whatever happens beside it."""
    lasting = {f"lasting {number:04}" for number in range(3000)}

    def put(number):
        for name in sorted(lasting)[number::THREADS]:
            bucket.put(f"directory/{name}", b"")

    in_threads(put)
    mounted = mount(bucket, "--metadata-ttl", "1")
    directory = mounted.path / "directory"
    done = []

    def come_and_go(number):
        for step in range(15):
            path = directory / f"passing {number} {step}"
            path.write_text("x")
            if step % 2:
                path.unlink()

    def work(number):
        if number < 3:
            try:
                come_and_go(number)
            finally:
                done.append(number)
            return
        rounds = 0
        while len(done) < 3 or rounds == 0:
            names = os.listdir(directory)
            assert len(names) == len(set(names))
            assert lasting <= set(names)
            rounds += 1

    in_threads(work, 5)
    expected = lasting | {f"passing {number} {step}" for number in range(3) for step in range(0, 15, 2)}
    assert set(os.listdir(directory)) == expected
    assert is_alive(mounted.pid)
