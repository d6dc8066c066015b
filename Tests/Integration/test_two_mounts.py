"""Two mounts of one bucket: nothing is overwritten unseen, and both see each other's work."""

import os

import pytest
from support.commands import eventually
from support.errors import fails, read

LIFETIME = ("--metadata-ttl", "1")


@pytest.fixture
def pair(bucket, mount):
    return mount(bucket, *LIFETIME).path, mount(bucket, *LIFETIME).path


def test_each_sees_the_others_work(pair):
    first, second = pair
    assert os.listdir(first) == os.listdir(second) == []
    (first / "directory").mkdir()
    (first / "directory" / "file").write_text("from the first")
    eventually(lambda: (second / "directory" / "file").exists(), "the second sees it", 5)
    assert (second / "directory" / "file").read_text() == "from the first"
    (second / "directory" / "file").write_text("changed by the second")
    eventually(lambda: read(first / "directory" / "file") == b"changed by the second", "and back", 5)
    os.rename(first / "directory", first / "renamed")
    eventually(lambda: os.listdir(second) == ["renamed"], "the rename is seen", 5)
    (second / "renamed" / "file").unlink()
    eventually(lambda: os.listdir(first / "renamed") == [], "the removal is seen", 5)


def conflicts(bucket):
    return [key for key in bucket.keys() if "(conflict " in key]


def test_both_edit_one_file(bucket, pair):
    first, second = pair
    bucket.put("file", b"common")
    with fails("ESTALE"), open(first / "file", "r+b") as ours:
        with open(second / "file", "r+b") as theirs:
            ours.write(b"by the first")
            theirs.write(b"by the second")
        assert bucket.get("file") == b"by the second"
    assert bucket.get("file") == b"by the second"
    (conflict,) = conflicts(bucket)
    assert conflict.startswith("file (conflict ")
    assert bucket.get(conflict) == b"by the first"
    # Both are files like others.
    eventually(lambda: sorted(os.listdir(first)) == sorted(["file", conflict]), "both are listed", 5)
    assert (first / conflict).read_bytes() == b"by the first"
    eventually(lambda: read(first / "file") == b"by the second", "the name has the other's bytes", 5)


def test_both_patch_one_file(bucket, mount):
    """The bytes around our patch were in a version that is gone: no whole copy can be made of ours, but it is kept."""
    first, second = mount(bucket), mount(bucket)
    bucket.put("file", b"common content")
    with fails("ESTALE", "EIO"), open(first.path / "file", "r+b") as ours:
        ours.write(b"first")
        with open(second.path / "file", "r+b") as theirs:
            theirs.write(b"second")
    result = first.waysfs.run("umount", first.path, check=False)
    first.may_be_dead = True
    assert bucket.get("file") == b"second content"
    if conflicts(bucket):
        assert [bucket.get(key) for key in conflicts(bucket)] == [b"firstn content"]
    else:
        assert result.returncode == 2 and str(first.cache) in result.stderr
        assert [path.read_bytes()[:5] for path in first.cache.glob("*/unsent/*.data")] == [b"first"]


def test_both_create_one_file(bucket, pair):
    first, second = pair
    with fails("ESTALE"), open(first / "new", "wb") as ours:
        ours.write(b"first")
        (second / "new").write_bytes(b"second")
    assert bucket.get("new") == b"second"
    (conflict,) = conflicts(bucket)
    assert bucket.get(conflict) == b"first"


def test_both_create_one_large_file(bucket, pair):
    """In parts: the condition is on the completion."""
    first, second = pair
    content = os.urandom(1 << 20)
    with fails("ESTALE"), open(first / "new", "wb") as ours:
        for _ in range(20):
            ours.write(content)
        (second / "new").write_bytes(b"second")
    assert bucket.get("new") == b"second"
    (conflict,) = conflicts(bucket)
    assert bucket.get(conflict) == content * 20
    assert bucket.uploads() == []


def test_one_removes_what_the_other_edits(bucket, pair):
    first, second = pair
    bucket.put("file", b"common")
    with fails("ESTALE"), open(first / "file", "r+b") as ours:
        ours.write(b"edited")
        (second / "file").unlink()
    assert bucket.head("file") is None
    (conflict,) = conflicts(bucket)
    assert bucket.get(conflict) == b"edited"


def test_exclusive_creation_is_won_once(pair):
    first, second = pair
    os.close(os.open(first / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with fails("EEXIST"):
        os.open(second / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    (first / "directory").mkdir()
    with fails("EEXIST"):
        (second / "directory").mkdir()
    (first / "link").symlink_to("a")
    with fails("EEXIST"):
        (second / "link").symlink_to("b")


def test_the_same_cache_directory_for_two_mounts(bucket, mount):
    """Each gets a place of its own there."""
    first = mount(bucket)
    second = mount(bucket, cache=first.cache)
    with open(first.path / "a", "wb") as one, open(second.path / "b", "wb") as two:
        one.write(b"a" * 100_000)
        two.write(b"b" * 100_000)
    assert bucket.get("a") == b"a" * 100_000 and bucket.get("b") == b"b" * 100_000
