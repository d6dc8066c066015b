"""Files that are renamed, removed or replaced while they are open."""

import os

import pytest
from support.commands import eventually
from support.processes import is_alive


@pytest.mark.parametrize("size", [100, 20 << 20], ids=["small", "large"])
def test_an_unlinked_file_stays_readable(size, bucket, mounted):
    content = os.urandom(size)
    bucket.put("file", content)
    with open(mounted / "file", "rb") as file:
        assert file.read(10) == content[:10]
        (mounted / "file").unlink()
        assert os.listdir(mounted) == [] and bucket.keys() == []
        assert file.read() == content[10:]
        assert os.fstat(file.fileno()).st_size == size


def test_an_unlinked_file_stays_writable_and_leaves_nothing(bucket, mount):
    """How temporary files are made: open, unlink, use."""
    mounted = mount(bucket)
    with open(mounted.path / "temporary", "w+b", buffering=0) as file:
        file.write(b"before")
        (mounted.path / "temporary").unlink()
        file.write(b" after")
        os.fsync(file.fileno())
        assert os.pread(file.fileno(), 100, 0) == b"before after"
        # Another file of that name is another file.
        (mounted.path / "temporary").write_bytes(b"second")
        assert os.pread(file.fileno(), 100, 0) == b"before after"
    assert bucket.get("temporary") == b"second"
    mounted.unmount()
    assert mounted.unsent() == []
    assert list(mounted.cache.rglob("*.data")) == []


def test_a_new_file_that_is_unlinked_never_reaches_the_bucket(bucket, mounted):
    with open(mounted / "file", "wb") as file:
        file.write(b"x")
        (mounted / "file").unlink()
    assert bucket.keys() == []


def test_rename_while_writing(bucket, mounted):
    (mounted / "directory").mkdir()
    with open(mounted / "first", "wb", buffering=0) as file:
        file.write(b"one ")
        os.rename(mounted / "first", mounted / "second")
        file.write(b"two ")
        os.rename(mounted / "second", mounted / "directory" / "third")
        file.write(b"three")
        assert (mounted / "directory" / "third").read_bytes() == b"one two three"
    assert bucket.get("directory/third") == b"one two three"
    assert sorted(bucket.keys()) == ["directory/", "directory/third"]


def test_rename_while_a_large_file_is_being_written(bucket, mounted):
    """Some of its parts have left for the old name."""
    piece = os.urandom(1 << 20)
    with open(mounted / "first", "wb", buffering=0) as file:
        for _ in range(20):
            file.write(piece)
        os.rename(mounted / "first", mounted / "second")
        for _ in range(20):
            file.write(piece)
    assert bucket.get("second") == piece * 40
    assert bucket.keys() == ["second"]
    eventually(lambda: bucket.uploads() == [], "no upload is left")


def test_rename_over_a_file_that_is_open(bucket, mounted):
    bucket.put("old", b"old bytes")
    bucket.put("new", b"new bytes")
    with open(mounted / "old", "rb", buffering=0) as file:
        os.rename(mounted / "new", mounted / "old")
        assert file.read() == b"old bytes"
    assert (mounted / "old").read_bytes() == b"new bytes"
    assert bucket.keys() == ["old"] and bucket.get("old") == b"new bytes"


def test_rename_over_a_file_that_is_being_written(bucket, mounted):
    with open(mounted / "old", "wb", buffering=0) as file:
        file.write(b"old")
        (mounted / "new").write_bytes(b"new")
        os.rename(mounted / "new", mounted / "old")
        file.write(b" bytes")
    assert (mounted / "old").read_bytes() == b"new"
    assert bucket.keys() == ["old"] and bucket.get("old") == b"new"


def test_reading_while_writing(mounted):
    with open(mounted / "file", "wb", buffering=0) as writer, open(mounted / "file", "rb", buffering=0) as reader:
        for number in range(100):
            writer.write(b"%08d" % number)
            assert reader.read(8) == b"%08d" % number


def test_an_open_file_survives_a_directory_rename_and_removal(bucket, mounted):
    (mounted / "a").mkdir()
    with open(mounted / "a" / "file", "w+b", buffering=0) as file:
        file.write(b"x")
        os.rename(mounted / "a", mounted / "b")
        (mounted / "b" / "file").unlink()
        (mounted / "b").rmdir()
        file.write(b"y")
        assert os.pread(file.fileno(), 10, 0) == b"xy"
    assert bucket.keys() == []


def test_permissions_and_times_of_an_open_file(bucket, mounted):
    with open(mounted / "file", "wb") as file:
        file.write(b"x")
        os.fchmod(file.fileno(), 0o600)
        file.flush()
        os.utime(file.fileno(), ns=(10**18, 10**18 + 5))
    assert os.stat(mounted / "file").st_mtime_ns == 10**18 + 5
    assert bucket.metadata("file")["mtime"] == "1000000000.000000005"
    assert bucket.metadata("file")["mode"] == str(0o100600)


def test_a_file_open_for_long_does_not_hinder_anybody(mount, bucket):
    mounted = mount(bucket)
    with open(mounted.path / "open", "wb") as file:
        file.write(b"x")
        for number in range(50):
            (mounted.path / f"f{number}").write_text("y")
            os.unlink(mounted.path / f"f{number}")
    assert os.listdir(mounted.path) == ["open"]
    assert is_alive(mounted.pid)
