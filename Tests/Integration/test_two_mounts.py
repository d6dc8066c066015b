"""Two mounts of one bucket: nothing is overwritten unseen, and both see each other's work."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import eventually
from support.errors import fails, outcome, read

LIFETIME = ("--metadata-ttl", "1")


@pytest.fixture
def pair(bucket, mount, mode):
    return mount(bucket, *LIFETIME, mode=mode), mount(bucket, *LIFETIME, mode=mode)


def stored(mounted):
    """Waits until what a mount has closed is in the bucket."""
    mounted.wait_for_uploads()


@contextlib.contextmanager
def loses(mounted, *names):
    """What runs inside closes a file that somebody else has changed: told at once, or found out in the background."""
    names = names or ("ESTALE",)
    if mounted.mode == "close":
        with fails(*names):
            yield
        return
    try:
        yield
    except OSError:
        pass
    assert outcome(mounted.wait_for_uploads) in ("done", *names)


def conflicts(bucket):
    return [key for key in bucket.keys() if "(conflict " in key]


def the_conflict(bucket, mounted):
    """The key of the one conflict copy; the log names it."""
    (conflict,) = eventually(lambda: conflicts(bucket), "the loser's version is stored beside the other")
    eventually(lambda: f'ours="{conflict}"' in mounted.log_text(), "the log says so")
    return conflict


def test_each_sees_the_others_work(pair):
    first, second = pair[0].path, pair[1].path
    assert os.listdir(first) == os.listdir(second) == []
    (first / "directory").mkdir()
    (first / "directory" / "file").write_text("from the first")
    eventually(lambda: (second / "directory" / "file").exists(), "the second sees it")
    assert (second / "directory" / "file").read_text() == "from the first"
    (second / "directory" / "file").write_text("changed by the second")
    eventually(lambda: read(first / "directory" / "file") == b"changed by the second", "and back")
    os.rename(first / "directory", first / "renamed")
    eventually(lambda: os.listdir(second) == ["renamed"], "the rename is seen")
    (second / "renamed" / "file").unlink()
    eventually(lambda: os.listdir(first / "renamed") == [], "the removal is seen")


def test_both_edit_one_file(bucket, pair):
    first, second = pair
    bucket.put("file", b"common")
    with loses(first), open(first.path / "file", "r+b") as ours:
        with open(second.path / "file", "r+b") as theirs:
            ours.write(b"by the first")
            theirs.write(b"by the second")
        stored(second)
        assert bucket.get("file") == b"by the second"
    conflict = the_conflict(bucket, first)
    assert bucket.get("file") == b"by the second"
    assert conflict.startswith("file (conflict ")
    assert bucket.get(conflict) == b"by the first"
    # Both are files like others.
    eventually(lambda: sorted(os.listdir(first.path)) == sorted(["file", conflict]), "both are listed")
    assert (first.path / conflict).read_bytes() == b"by the first"
    eventually(lambda: read(first.path / "file") == b"by the second", "the name has the other's bytes")


def test_both_patch_one_file(bucket, mount, mode):
    """The bytes around our patch were in a version that is gone: no whole copy can be made of ours, but it is kept."""
    first, second = mount(bucket, mode=mode), mount(bucket, mode=mode)
    bucket.put("file", b"common content")
    with loses(first, "ESTALE", "EIO"), open(first.path / "file", "r+b") as ours:
        ours.write(b"first")
        with open(second.path / "file", "r+b") as theirs:
            theirs.write(b"second")
        stored(second)
    result = first.waysfs.run("umount", first.path, check=False)
    first.may_be_dead = True
    assert bucket.get("file") == b"second content"
    if conflicts(bucket):
        assert [bucket.get(key) for key in conflicts(bucket)] == [b"firstn content"]
    else:
        assert result.returncode == 2 and str(first.cache) in result.stderr
        assert {path.read_bytes()[:5] for path in first.cache.glob("*/*/*.data")} == {b"first"}


def test_both_create_one_file(bucket, pair):
    first, second = pair
    with loses(first), open(first.path / "new", "wb") as ours:
        ours.write(b"first")
        (second.path / "new").write_bytes(b"second")
        stored(second)
    assert bucket.get(the_conflict(bucket, first)) == b"first"
    assert bucket.get("new") == b"second"


def test_both_create_one_large_file(bucket, pair):
    """In parts: the condition is on the completion."""
    first, second = pair
    content = os.urandom(1 << 20)
    with loses(first), open(first.path / "new", "wb") as ours:
        for _ in range(20):
            ours.write(content)
        (second.path / "new").write_bytes(b"second")
        stored(second)
    assert bucket.get(the_conflict(bucket, first)) == content * 20
    assert bucket.get("new") == b"second"
    eventually(lambda: bucket.uploads() == [], "no upload is left")


def test_one_removes_what_the_other_edits(bucket, pair):
    first, second = pair
    bucket.put("file", b"common")
    with loses(first), open(first.path / "file", "r+b") as ours:
        ours.write(b"edited")
        (second.path / "file").unlink()
    assert bucket.get(the_conflict(bucket, first)) == b"edited"
    assert bucket.head("file") is None


def test_a_conflict_is_told_to_whoever_has_the_file_open(bucket, pair):
    """In either mode: fsync, or the first one after the background has found it out."""
    first, second = pair
    bucket.put("file", b"common")
    descriptor = os.open(first.path / "file", os.O_RDWR)
    os.write(descriptor, b"by the first")
    (second.path / "file").write_bytes(b"by the second")
    stored(second)
    told = [outcome(os.fsync, descriptor)]
    the_conflict(bucket, first)
    if first.mode == "close":
        assert told == ["ESTALE"]
    told.append(outcome(os.fsync, descriptor))
    told.append(outcome(os.close, descriptor))
    assert "ESTALE" in told, told
    assert bucket.get("file") == b"by the second"


@pytest.mark.parametrize("size", [4096, 20 << 20], ids=["small", "large"])
def test_both_rewrite_one_file_again_and_again(size, bucket, pair):
    """At the same moment, many times: every version that was closed is somewhere, under the name or beside it."""
    versions, count = {0: [], 1: []}, 2 if size > 1 << 20 else 8
    bucket.put("file", b"common")

    def work(number):
        for step in range(count):
            content = os.urandom(size)
            try:
                (pair[number].path / "file").write_bytes(content)
            except OSError as error:
                # The kernel finds that the name has another file now, or the close tells of a conflict.
                if outcome(lambda: (_ for _ in ()).throw(error)) != "ESTALE":
                    raise
            versions[number].append(content)
            outcome(pair[number].wait_for_uploads)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    # The last one of each has the name, or is a conflict copy. Or it was replaced by the other, who had opened the file
    # after it was stored.
    last = {versions[0][-1], versions[1][-1]}

    def is_kept():
        there = {bucket.get(key) for key in bucket.keys()}
        return last <= there or bucket.get("file") in last

    eventually(is_kept, "the last version of each is there, or was replaced by the other's")


def test_exclusive_creation_is_won_once(pair):
    first, second = pair[0].path, pair[1].path
    os.close(os.open(first / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with fails("EEXIST"):
        os.open(second / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    (first / "directory").mkdir()
    with fails("EEXIST"):
        (second / "directory").mkdir()
    (first / "link").symlink_to("a")
    with fails("EEXIST"):
        (second / "link").symlink_to("b")


def test_exclusive_creation_at_the_same_moment(bucket, pair):
    """Of a hundred names each is won by one of the two, and has the winner's bytes."""
    names = [f"lock{number}" for number in range(100)]
    threads = 6
    barrier = threading.Barrier(2 * threads)

    def create(number):
        root, won = pair[number % 2].path, []
        barrier.wait()
        for name in names[number // 2 :: threads]:
            try:
                descriptor = os.open(root / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            os.write(descriptor, b"%d" % (number % 2))
            os.close(descriptor)
            won.append(name)
        return won

    with ThreadPoolExecutor(2 * threads) as pool:
        won = list(pool.map(create, range(2 * threads)))
    winners = [[name for number, own in enumerate(won) if number % 2 == side for name in own] for side in range(2)]
    print("won by the first:", len(winners[0]), "by the second:", len(winners[1]))
    assert sorted(winners[0] + winners[1]) == sorted(names)
    for mounted in pair:
        stored(mounted)
    for side in range(2):
        for name in winners[side]:
            assert bucket.get(name) == b"%d" % side
    assert sorted(bucket.keys()) == sorted(names)


def test_the_same_cache_directory_for_two_mounts(bucket, mount, mode):
    """Each gets a place of its own there."""
    first = mount(bucket, mode=mode)
    second = mount(bucket, mode=mode, cache=first.cache)
    with open(first.path / "a", "wb") as one, open(second.path / "b", "wb") as two:
        one.write(b"a" * 100_000)
        two.write(b"b" * 100_000)
    stored(first)
    stored(second)
    assert bucket.get("a") == b"a" * 100_000 and bucket.get("b") == b"b" * 100_000
