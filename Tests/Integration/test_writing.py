"""Reading and writing in every way programs do: the same bytes as on a local disk, in the mount and in the bucket."""

import os
import subprocess
import sys

import pytest
from support.commands import TIME_LIMIT, run
from support.errors import fails, outcome
from support.trees import assert_same_trees


@pytest.fixture
def both(mounted, local):
    """The same relative path on the mount and on a local disk."""
    return mounted / "file", local / "file"


def same(both, bucket):
    mounted, local = both
    expected = local.read_bytes()
    assert mounted.read_bytes() == expected
    assert os.stat(mounted).st_size == len(expected)
    assert bucket.get("file") == expected


def test_own_writes_are_read_back_before_close(both, bucket):
    for path in both:
        with open(path, "w+b", buffering=0) as file:
            file.write(b"0123456789")
            assert os.pread(file.fileno(), 4, 3) == b"3456"
            assert path.read_bytes() == b"0123456789"
            os.pwrite(file.fileno(), b"xy", 4)
            assert os.pread(file.fileno(), 100, 0) == b"0123xy6789"
            assert os.fstat(file.fileno()).st_size == 10
    same(both, bucket)


def test_random_writes_and_holes(both, bucket):
    for path in both:
        with open(path, "wb", buffering=0) as file:
            for offset, content in [(1_000_000, b"late"), (0, b"early"), (500_000, b"middle"), (3, b"over")]:
                os.pwrite(file.fileno(), content, offset)
    same(both, bucket)


def test_changes_in_an_existing_file(both, bucket):
    for path in both:
        path.write_bytes(bytes(range(256)) * 1000)
        with open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"patch one", 100_000)
            os.pwrite(file.fileno(), b"patch two", 255_998)
            assert os.pread(file.fileno(), 20, 99_995) == bytes([155, 156, 157, 158, 159]) + b"patch one" + bytes(
                range(169, 175)
            )
    same(both, bucket)


def test_append(both, bucket):
    for path in both:
        for word in (b"one ", b"two ", b"three"):
            with open(path, "ab") as file:
                file.write(word)
    same(both, bucket)


def test_append_by_two_descriptors(both, bucket):
    for path in both:
        with open(path, "ab", buffering=0) as first, open(path, "ab", buffering=0) as second:
            for number in range(50):
                (first if number % 2 else second).write(b"%d " % number)
    same(both, bucket)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 10_000, 1_000_000])
def test_truncation(size, both, bucket):
    for path in both:
        path.write_bytes(bytes(range(256)) * 40)
        os.truncate(path, size)
        assert os.stat(path).st_size == size
    same(both, bucket)


def test_truncation_of_an_open_file(both, bucket):
    for path in both:
        with open(path, "w+b", buffering=0) as file:
            file.write(b"a" * 10_000)
            os.ftruncate(file.fileno(), 5_000)
            os.ftruncate(file.fileno(), 8_000)
            file.write(b"b" * 10)
            assert os.pread(file.fileno(), 8_000, 0) == b"a" * 5_000 + bytes(3_000)
    same(both, bucket)


def test_opening_with_truncation(both, bucket):
    for path in both:
        path.write_bytes(b"long old content")
        with open(path, "wb", buffering=0) as file:
            assert os.stat(path).st_size == 0
            file.write(b"new")
    same(both, bucket)


def test_an_empty_file(both, bucket):
    for path in both:
        path.touch()
    same(both, bucket)
    assert bucket.get("file") == b""


def test_exclusive_creation(mounted, bucket):
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(mounted / "file", flags))
    with fails("EEXIST"):
        os.open(mounted / "file", flags)
    # The mount knows nothing of this one, and has just been told that it is not there.
    assert not (mounted / "theirs").exists()
    bucket.put("theirs", b"theirs")
    with fails("EEXIST"):
        os.open(mounted / "theirs", flags)
    assert bucket.get("theirs") == b"theirs"


def test_flags_of_open(mounted, local):
    outcomes = []
    for directory in (mounted, local):
        (directory / "file").write_text("x")
        (directory / "directory").mkdir()
        (directory / "link").symlink_to("file")
        cases = [
            ("absent", os.O_RDONLY),
            ("directory", os.O_WRONLY),
            ("directory", os.O_RDONLY),
            ("file", os.O_RDONLY | os.O_DIRECTORY),
            ("link", os.O_RDONLY | os.O_NOFOLLOW),
            ("link", os.O_RDONLY),
            ("file/below", os.O_RDONLY),
            ("absent/below", os.O_CREAT | os.O_WRONLY),
        ]
        outcomes.append([outcome(lambda: os.close(os.open(directory / name, flags))) for name, flags in cases])
    assert outcomes[0] == outcomes[1]


def test_reading_beyond_the_end(both):
    for path in both:
        path.write_bytes(b"ten bytes.")
        with open(path, "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 100, 5) == b"ytes."
            assert os.pread(file.fileno(), 100, 10) == b""
            assert os.pread(file.fileno(), 100, 1 << 40) == b""


def test_descriptors_of_the_wrong_kind(mounted):
    (mounted / "file").write_text("x")
    descriptor = os.open(mounted / "file", os.O_RDONLY)
    try:
        with fails("EBADF"):
            os.write(descriptor, b"x")
        with fails("EINVAL", "EBADF"):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
    assert (mounted / "file").read_text() == "x"


# A page fault in a hanging mount cannot be interrupted, so memory maps live in a process that can be killed.
MAPPING = """
import mmap, os, sys
path = sys.argv[1]
with open(path, "r+b") as file:
    with mmap.mmap(file.fileno(), 0) as map:
        assert map[:5] == b"start" and map[99_990:] == b"." * 10
        map[50_000:50_006] = b"mapped"
        map.flush()
        assert os.pread(file.fileno(), 6, 50_000) == b"mapped"
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as map:
        assert map[49_999:50_007] == b".mapped."
with open(path, "rb") as file:
    with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as map:
        map[0:5] = b"never"
"""


def test_memory_maps(both, bucket):
    for path in both:
        path.write_bytes(b"start" + b"." * 99_995)
        run(sys.executable, "-c", MAPPING, path)
    same(both, bucket)
    assert bucket.get("file")[50_000:50_006] == b"mapped"


def test_a_map_that_is_written_after_the_close(both, bucket):
    for path in both:
        path.write_bytes(b"." * 10_000)
        script = (
            "import mmap, sys; file = open(sys.argv[1], 'r+b'); map = mmap.mmap(file.fileno(), 0); file.close();"
            "map[5000:5005] = b'after'; map.close()"
        )
        run(sys.executable, "-c", script, path)
    same(both, bucket)


def test_many_small_writes(both, bucket):
    for path in both:
        with open(path, "wb", buffering=0) as file:
            for number in range(3000):
                file.write(b"%d\n" % number)
    same(both, bucket)


def test_a_program_that_is_killed_while_writing(mounted, bucket):
    """As on a local disk, what it had written is in the file: the kernel closes it."""
    script = (
        "import sys; file = open(sys.argv[1], 'wb', buffering=0); file.write(b'so far');"
        "print('.', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, mounted / "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b".\n"
        process.kill()
        process.wait(TIME_LIMIT)
    assert (mounted / "file").read_bytes() == b"so far"


def test_shell_redirections(mounted, local):
    script = "echo one > f; echo two >> f; sort -r f > g; cat f g > h; : > empty; exec 3<>h; echo X >&3; exec 3>&-"
    for directory in (mounted, local):
        run("sh", "-c", script, cwd=directory)
    assert_same_trees(mounted, local)


def test_fallocate_and_copy_range_do_not_lie(both, bucket):
    """Done as on a local disk, or refused so that programs fall back."""
    for path in both:
        path.write_bytes(b"content " * 1000)
        with open(path, "r+b", buffering=0) as file:
            if outcome(os.posix_fallocate, file.fileno(), 0, 20_000) != "done":
                os.ftruncate(file.fileno(), 20_000)
            try:
                assert os.copy_file_range(file.fileno(), file.fileno(), 100, 0, 10_000) > 0
            except OSError:
                os.pwrite(file.fileno(), os.pread(file.fileno(), 100, 0), 10_000)
    same(both, bucket)
