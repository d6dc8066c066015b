"""Directories: made, listed, renamed and removed."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import TIME_LIMIT, eventually, run
from support.errors import fails, outcome
from support.faults import HELD
from support.trees import assert_same_trees, make_tree, snapshot


def test_an_empty_directory_lasts(bucket, mount):
    mounted = mount(bucket)
    (mounted.path / "empty").mkdir()
    assert bucket.keys() == ["empty/"]
    mounted.restart()
    assert os.listdir(mounted.path) == ["empty"]
    assert os.listdir(mounted.path / "empty") == []


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_directory_outlives_its_last_file(server, new_bucket, mount):
    """Made by another client it is only a common prefix, which would vanish with the object."""
    bucket = new_bucket(server)
    bucket.put("prefix/one", b"x")
    bucket.put("other/one", b"x")
    mounted = mount(bucket)
    (mounted.path / "prefix" / "one").unlink()
    os.rename(mounted.path / "other" / "one", mounted.path / "one")
    assert os.listdir(mounted.path / "prefix") == []
    mounted.restart()
    assert sorted(os.listdir(mounted.path)) == ["one", "other", "prefix"]
    (mounted.path / "prefix").rmdir()
    mounted.restart()
    assert sorted(os.listdir(mounted.path)) == ["one", "other"]


def test_mkdir_on_what_exists(mounted):
    (mounted / "directory").mkdir()
    (mounted / "file").write_text("x")
    with fails("EEXIST"):
        os.mkdir(mounted / "directory")
    with fails("EEXIST"):
        os.mkdir(mounted / "file")
    with fails("ENOTDIR"):
        os.mkdir(mounted / "file" / "below")
    with fails("ENOENT"):
        os.mkdir(mounted / "absent" / "below")


def test_rmdir(bucket, mounted):
    (mounted / "full").mkdir()
    (mounted / "full" / "file").write_text("x")
    bucket.put("prefix/file", b"x")
    with fails("ENOTEMPTY"):
        os.rmdir(mounted / "full")
    with fails("ENOTEMPTY"):
        os.rmdir(mounted / "prefix")
    with fails("ENOTDIR"):
        os.rmdir(mounted / "full" / "file")
    with fails("ENOENT"):
        os.rmdir(mounted / "absent")
    with fails("EISDIR"):
        os.unlink(mounted / "full")
    assert bucket.get("full/file") == b"x"
    (mounted / "full" / "file").unlink()
    (mounted / "full").rmdir()
    assert bucket.head("full/") is None


def test_rmdir_while_a_file_in_it_is_being_written(mounted):
    (mounted / "full").mkdir()
    with open(mounted / "full" / "file", "wb") as file:
        file.write(b"not in the bucket yet")
        with fails("ENOTEMPTY"):
            os.rmdir(mounted / "full")
    assert os.listdir(mounted / "full") == ["file"]


def test_rename_of_a_tree(bucket, mount, local):
    mounted = mount(bucket)
    for directory in (mounted.path, local):
        for number in range(200):
            path = directory / "old" / f"d{number % 7}" / f"file {number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content {number}")
        (directory / "old" / "empty").mkdir()
        (directory / "into").mkdir()
        os.rename(directory / "old", directory / "into" / "new")
    assert_same_trees(mounted.path, local)
    assert bucket.keys("old") == []
    assert bucket.get("into/new/d3/file 10") == b"content 10"
    mounted.restart()
    assert_same_trees(mounted.path, local)


def test_rename_keeps_attributes_of_all_below(bucket, mount, local):
    mounted = mount(bucket)
    make_tree(mounted.path / "tree", files=20)
    make_tree(local / "tree", files=20)
    for directory in (mounted.path, local):
        os.rename(directory / "tree", directory / "renamed")
    mounted.restart()
    assert_same_trees(mounted.path, local, times=True, owners=True)


def test_rename_keeps_attributes_of_many_directories(bucket, mount):
    """Their markers are made at the same time as what is below them; a server may mix these up."""
    mounted = mount(bucket)
    directories = [f"{first}{second}" for first in range(6) for second in ("", "/deep", "/deep/er")]
    for name in directories:
        (mounted.path / "tree" / name).mkdir(parents=True)
        (mounted.path / "tree" / name).chmod(0o701)
        (mounted.path / "tree" / name / "file").write_text(name)
    for target in ("moved", "again", "tree"):
        os.rename(next(mounted.path.iterdir()), mounted.path / target)
        mounted.restart()
        modes = {name: os.stat(mounted.path / target / name).st_mode & 0o777 for name in directories}
        assert set(modes.values()) == {0o701}, modes


class Holding:
    """A script for a proxy that holds the requests that `is_meant`, until it is left."""

    def __init__(self, is_meant):
        self.is_meant = is_meant
        self.count = 0
        self.released = threading.Event()

    def __call__(self, request, forward):
        if self.is_meant(request):
            self.count += 1
            self.released.wait(HELD)
        return forward()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_rename_that_is_killed_leaves_nothing_behind(server, new_bucket, mount, proxy):
    """The same mv(1) once more would otherwise move the directory into the half that is there."""
    bucket = new_bucket(server)
    for number in range(100):
        bucket.put(f"old/{number}", b"x")
    middle = proxy(bucket.server)
    mounted = mount(bucket, endpoint=middle.endpoint)
    old, new = mounted.path / "old", mounted.path / "new"
    with Holding(lambda request: request.method == "PUT" and request.key.startswith("new/5")) as holding:
        middle.script = holding
        with subprocess.Popen(["mv", old, new]) as program:
            eventually(lambda: holding.count > 0, "copies are under way")
            program.kill()
            holding.released.set()
            assert program.wait(TIME_LIMIT) == -signal.SIGKILL
    # The signal may have come when all was copied.
    assert len(others := bucket.keys()) == 101 or others == bucket.keys("old/")
    if old.exists():
        assert bucket.keys("new/") == [] and not new.exists()
        run("mv", old, new)
    assert os.listdir(mounted.path) == ["new"]
    assert len(bucket.keys("new/")) == 101


def test_a_program_that_lists_a_directory_can_be_killed(bucket, mount, proxy):
    bucket.put("directory/file", b"x")
    middle = proxy(bucket.server)
    mounted = mount(bucket, endpoint=middle.endpoint)
    os.stat(mounted.path / "directory")
    with Holding(lambda request: "prefix=directory" in request.query and "max-keys=1000" in request.query) as holding:
        middle.script = holding
        lister = "import os, sys; os.listdir(sys.argv[1])"
        with subprocess.Popen([sys.executable, "-c", lister, mounted.path / "directory"]) as program:
            eventually(lambda: holding.count > 0, "the listing is asked for")
            assert program.poll() is None
            program.kill()
            # While the server has not answered.
            assert program.wait(TIME_LIMIT) == -signal.SIGKILL
    assert os.listdir(mounted.path / "directory") == ["file"]


def test_what_others_store_while_a_directory_moves_stays(bucket, mount, proxy):
    for number in range(3):
        bucket.put(f"old/{number}", b"before")
    middle = proxy(bucket.server)
    mounted = mount(bucket, endpoint=middle.endpoint)
    listings = []

    def script(request, forward):
        # The second listing of everything is made when all is copied.
        if "prefix=old" in request.query and "max-keys=1000" in request.query:
            listings.append(request)
            if len(listings) == 2:
                bucket.put("old/1", b"stored meanwhile")
                bucket.put("old/new", b"new")
        return forward()

    middle.script = script
    os.rename(mounted.path / "old", mounted.path / "new")
    assert bucket.keys("old/") in (["old/1", "old/new"], ["old/", "old/1", "old/new"])
    assert (mounted.path / "old" / "1").read_bytes() == b"stored meanwhile"
    assert [(mounted.path / "new" / str(number)).read_bytes() for number in range(3)] == [b"before"] * 3


def test_rename_of_a_directory_made_by_another_client(bucket, mounted):
    for number in range(5):
        bucket.put(f"prefix/sub/{number}", str(number).encode())
    os.rename(mounted / "prefix", mounted / "moved")
    assert sorted(os.listdir(mounted / "moved" / "sub")) == ["0", "1", "2", "3", "4"]
    assert bucket.keys("prefix/") == []
    assert bucket.get("moved/sub/3") == b"3"


def test_rename_of_a_directory_with_open_files(bucket, mounted):
    (mounted / "old").mkdir()
    (mounted / "old" / "read").write_bytes(b"r" * 100_000)
    with open(mounted / "old" / "read", "rb", buffering=0) as reader, open(mounted / "old" / "write", "wb") as writer:
        writer.write(b"before, ")
        writer.flush()
        assert reader.read(10) == b"r" * 10
        os.rename(mounted / "old", mounted / "new")
        writer.write(b"after")
        assert reader.read() == b"r" * 99_990
    assert bucket.get("new/write") == b"before, after"
    assert bucket.keys("old") == []


def test_rename_onto_directories(mounted, local):
    """Each refused or done as on a local disk."""
    outcomes = []
    for directory in (mounted, local):
        for name in ("full", "empty", "source"):
            (directory / name).mkdir()
        (directory / "full" / "file").write_text("x")
        (directory / "source" / "file").write_text("source")
        (directory / "plain").write_text("x")
        results = []
        for source, target in [
            ("source", "full"),
            ("source", "plain"),
            ("plain", "source"),
            ("source", "source/below"),
            ("source", "absent/below"),
            ("absent", "new"),
            ("source", "source"),
            ("source", "empty"),
        ]:
            results.append(outcome(os.rename, directory / source, directory / target))
        outcomes.append(results)
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == "ENOTEMPTY" and outcomes[0][-1] == "done"
    assert_same_trees(mounted, local)


def test_listing_of_many_entries(bucket, mount):
    """More than one page of a listing, by another client and in the mount's own view."""
    mounted = mount(bucket)
    (mounted.path / "many").mkdir()
    names = {f"entry {number:05}" for number in range(1300)}
    for name in names:
        bucket.put(f"many/{name}", b"")
    mounted.restart()
    listed = os.listdir(mounted.path / "many")
    assert len(listed) == len(names) and set(listed) == names
    with os.scandir(mounted.path / "many") as entries:
        assert all(entry.is_file() and entry.stat().st_size == 0 for entry in entries)


@pytest.mark.time_limit(120)
def test_rename_and_removal_of_more_entries_than_fit_on_a_page(bucket, mounted):
    def put(name):
        bucket.put(f"old/{name}", name.encode())

    names = {f"entry {number:05}" for number in range(1200)} | {f"sub/{number}" for number in range(20)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, names))
    os.rename(mounted / "old", mounted / "new")
    assert bucket.keys("old") == []
    assert set(bucket.keys("new/")) - {"new/", "new/sub/"} == {f"new/{name}" for name in names}
    assert bucket.get("new/entry 01199") == b"entry 01199"
    assert run("find", mounted / "new", "-type", "f", timeout=90).stdout.count("\n") == len(names)
    run("rm", "-r", mounted / "new", timeout=90)
    assert bucket.keys() == []


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_names_that_sort_around_a_slash(server, new_bucket, mount):
    """`a/` sorts between `a-` and `a0`, and servers differ."""
    bucket = new_bucket(server)
    for key in ("a/x", "a-/x", "a0/x", "a-x", "a0x", "a", "a.", "A/x"):
        if not (server == "seaweedfs" and key == "a"):
            bucket.put(key, b"")
    path = mount(bucket).path
    assert sorted(os.listdir(path)) == ["A", "a", "a-", "a-x", "a.", "a0", "a0x"]
    assert os.listdir(path / "a") == os.listdir(path / "a-") == os.listdir(path / "a0") == ["x"]


def test_seekdir_and_rewind(mounted):
    """A program that reads a directory a second time through the same stream sees all of it."""
    for number in range(20):
        (mounted / f"f{number}").touch()
    descriptor = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY)
    try:
        first = sorted(os.listdir(descriptor))
        (mounted / "later").touch()
        second = sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)
    assert len(first) == 20 and second == sorted([*first, "later"])


def test_removal_while_listing(mounted, local):
    """rm -r reads and deletes by turns; nothing may be left over."""
    make_tree(mounted / "tree", files=40)
    for directory, names, files in os.walk(mounted / "tree", topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))
        for name in names:
            path = os.path.join(directory, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)
    os.rmdir(mounted / "tree")
    assert snapshot(mounted) == snapshot(local) == {}
