"""What other clients do appears within the metadata lifetime; what a mount does is there when the call returns."""

import itertools
import os
import random
import threading
import time

import pytest
from support.commands import eventually
from support.errors import read

# Long against a round trip, short for a test.
LIFETIME = ("--metadata-ttl", "1")


@pytest.fixture
def path(bucket, mount):
    return mount(bucket, *LIFETIME).path


def test_a_new_object_appears(bucket, path):
    assert os.listdir(path) == []
    assert not (path / "new").exists()
    bucket.put("new", b"hello")
    eventually(lambda: (path / "new").exists(), "stat sees it")
    eventually(lambda: os.listdir(path) == ["new"], "the listing shows it")
    assert (path / "new").read_bytes() == b"hello"


def test_the_lifetime_is_that_of_the_option(bucket, path, mount):
    """Where it is long, nothing is asked again as long as others see the change already."""
    bucket.put("file", b"short")
    slow = mount(bucket, "--metadata-ttl", "1h").path
    for root in (path, slow):
        assert os.listdir(root) == ["file"] and os.stat(root / "file").st_size == 5 and not (root / "new").exists()
    bucket.put("file", b"longer")
    bucket.put("new", b"")
    eventually(lambda: (path / "new").exists(), "a new name is seen")
    eventually(lambda: os.stat(path / "file").st_size == 6, "a new size is seen")
    eventually(lambda: sorted(os.listdir(path)) == ["file", "new"], "the listing shows it")
    assert os.listdir(slow) == ["file"] and os.stat(slow / "file").st_size == 5 and not (slow / "new").exists()


def test_a_new_object_in_a_new_directory_appears(bucket, path):
    assert not (path / "a").exists()
    bucket.put("a/b/c", b"deep")
    eventually(lambda: (path / "a" / "b" / "c").exists(), "stat sees it")
    assert os.listdir(path / "a") == ["b"]
    assert (path / "a" / "b" / "c").read_bytes() == b"deep"


@pytest.mark.parametrize("change", [b"longer than before", b"shrt", b"equal"], ids=["longer", "shorter", "same size"])
def test_a_changed_object_appears(change, bucket, path):
    bucket.put("file", b"first")
    assert (path / "file").read_bytes() == b"first"
    before = os.stat(path / "file")
    bucket.put("file", change)
    eventually(lambda: read(path / "file") == change, "the new bytes are read")
    after = os.stat(path / "file")
    assert after.st_size == len(change)
    assert after.st_mtime_ns >= before.st_mtime_ns


def test_a_removed_object_disappears(bucket, path):
    bucket.put("file", b"x")
    bucket.put("other", b"x")
    assert (path / "file").exists()
    assert sorted(os.listdir(path)) == ["file", "other"]
    bucket.delete("file")
    eventually(lambda: not (path / "file").exists(), "stat does not see it any more")
    eventually(lambda: os.listdir(path) == ["other"], "the listing does not show it any more")
    with pytest.raises(FileNotFoundError):
        (path / "file").read_bytes()


def test_a_file_that_becomes_a_directory(bucket, path):
    bucket.put("name", b"file")
    assert (path / "name").is_file()
    bucket.delete("name")
    bucket.put("name/below", b"x")
    eventually(lambda: (path / "name").is_dir(), "it is a directory")
    assert os.listdir(path / "name") == ["below"]


def test_an_open_file_stays_one_version(bucket, path):
    """No read gives a mixture of two versions. (Pages are shared between opens, and may be those of the newer one.)"""
    size = 9 << 20
    bucket.put("file", b"1" * size)
    with open(path / "file", "rb", buffering=0) as file:
        assert file.read(4096) == b"1" * 4096
        bucket.put("file", b"2" * size)
        eventually(lambda: read(path / "file") == b"2" * size, "a new open sees the new version")
        try:
            rest = file.read(size)
        except OSError:
            rest = b""
        assert len(set(rest)) <= 1


def test_a_new_version_is_read_whole_although_the_old_one_is_open(bucket, mount):
    """A player has a file open, another client makes it longer, and `cp` comes after an `ls`."""
    path = mount(bucket, "--metadata-ttl", "2").path / "file"
    bucket.put("file", b"1" * 1000)
    with open(path, "rb", buffering=0) as player:
        assert player.read(10) == b"1" * 10
        bucket.put("file", b"2" * 5000)

        def copied():
            os.stat(path)
            return read(path)

        def new():
            content = copied()
            assert content in (None, b"1" * 1000, b"2" * 5000), f"{len(content)} bytes of {set(content)}"
            return content == b"2" * 5000

        eventually(new, "the new version is read")


def test_own_work_is_seen_at_once(bucket, path):
    """Within the lifetime of everything the mount has learnt before."""
    assert os.listdir(path) == [] and not (path / "d").exists()
    (path / "d").mkdir()
    assert bucket.keys() == ["d/"]
    (path / "d" / "file").write_bytes(b"one")
    assert bucket.get("d/file") == b"one" and os.listdir(path / "d") == ["file"]
    with open(path / "d" / "file", "ab") as file:
        file.write(b" two")
    assert bucket.get("d/file") == b"one two" and os.stat(path / "d" / "file").st_size == 7
    os.rename(path / "d" / "file", path / "moved")
    assert bucket.head("d/file") is None and bucket.get("moved") == b"one two"
    assert os.listdir(path / "d") == [] and sorted(os.listdir(path)) == ["d", "moved"]
    os.unlink(path / "moved")
    assert bucket.head("moved") is None and os.listdir(path) == ["d"]
    os.rmdir(path / "d")
    assert bucket.keys() == [] and os.listdir(path) == []


def test_nothing_is_visible_before_close(bucket, path):
    with open(path / "file", "wb", buffering=0) as file:
        file.write(b"half")
        assert bucket.head("file") is None
        assert os.stat(path / "file").st_size == 4
        assert os.listdir(path) == ["file"]
        file.write(b" and half")
    assert bucket.get("file") == b"half and half"


def test_fsync_makes_it_visible(bucket, path):
    with open(path / "file", "wb", buffering=0) as file:
        file.write(b"first")
        os.fsync(file.fileno())
        assert bucket.get("file") == b"first"
        file.write(b" second")
        assert bucket.get("file") == b"first"
    assert bucket.get("file") == b"first second"


def test_a_large_file_is_never_visible_in_part(bucket, path):
    """Its first parts leave while it is written; the object comes to be at the close."""
    piece = os.urandom(1 << 20)
    with open(path / "file", "wb", buffering=0) as file:
        for _ in range(30):
            file.write(piece)
        assert bucket.head("file") is None
    assert bucket.get("file") == piece * 30
    eventually(lambda: bucket.uploads() == [], "no upload is left")


@pytest.mark.parametrize("lifetime", ["0", "2ms", "50ms"])
def test_a_reader_never_sees_a_mixture_of_versions(lifetime, bucket, mount):
    """Neither the bytes of two, nor the bytes of one with the length of another."""
    path = mount(bucket, "--metadata-ttl", lifetime).path
    random_source = random.Random(7)
    versions = [bytes([number]) * random_source.choice([1, 1000, 5000, 100_000]) for number in range(150)]
    bucket.put("file", versions[0])
    done = threading.Event()

    def change():
        # Until the reader, which a busy machine may hold up, has seen enough of them.
        for number in itertools.count():
            bucket.put("file", versions[number % len(versions)])
            if done.is_set() and number >= len(versions):
                return
            # Not to keep step with: the reader must see some versions between two changes.
            time.sleep(random_source.uniform(0, 0.03))

    writer = threading.Thread(target=change)
    writer.start()
    reads = 0
    try:
        while writer.is_alive():
            content = read(path / "file")
            assert content is None or content in versions, f"{len(content)} bytes of {set(content)}"
            reads += content is not None
            if reads > 20:
                done.set()
    finally:
        done.set()
        writer.join()
    last = bucket.get("file")
    eventually(lambda: read(path / "file") == last, "the last version is read")


def test_a_file_changed_by_somebody_else_can_be_read_again_at_once(bucket, mount):
    """A long lifetime may show old bytes, but an error must not last as long."""
    path = mount(bucket, "--metadata-ttl", "1h").path
    bucket.put("file", b"1" * 3_000_000)
    assert os.stat(path / "file").st_size == 3_000_000
    bucket.put("file", b"2" * 3_000_000)
    content = read(path / "file") or (path / "file").read_bytes()
    assert content in (b"1" * 3_000_000, b"2" * 3_000_000)
