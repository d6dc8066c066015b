"""The same simple work on every server.

rclone keeps `name/` as a file called `name`, so directories cannot be made there: see `test_work_without_directories`.
"""

import os

import pytest
from conftest import SERVERS
from support.errors import fails
from support.trees import assert_same_trees


def work(directory):
    (directory / "notes").mkdir()
    (directory / "notes" / "a.txt").write_text("first")
    (directory / "notes" / "a.txt").write_text("second, longer")
    with open(directory / "notes" / "a.txt", "ab") as file:
        file.write(b" and appended")
    (directory / "b.txt").write_bytes(b"")
    os.rename(directory / "b.txt", directory / "notes" / "c.txt")
    (directory / "gone").write_text("x")
    (directory / "gone").unlink()
    os.rename(directory / "notes", directory / "moved")
    (directory / "link").symlink_to("moved/a.txt")
    with open(directory / "moved" / "c.txt", "r+b") as file:
        os.pwrite(file.fileno(), b"patched", 100_000)


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_simple_work_gives_what_a_local_disk_gives(server, new_bucket, mount, local):
    bucket = new_bucket(server)
    mounted = mount(bucket)
    work(mounted.path)
    work(local)
    assert_same_trees(mounted.path, local)
    mounted.restart()
    assert_same_trees(mounted.path, local)
    assert bucket.get("moved/a.txt") == b"second, longer and appended"
    assert bucket.head("gone") is None
    assert bucket.head("notes/a.txt") is None


@pytest.mark.parametrize("server", SERVERS)
def test_a_large_file_goes_there_and_back(server, new_bucket, mount):
    bucket = new_bucket(server)
    mounted = mount(bucket)
    content = os.urandom(20_000_003)
    (mounted.path / "large").write_bytes(content)
    assert bucket.get("large") == content
    mounted.restart()
    assert (mounted.path / "large").read_bytes() == content


def test_work_without_directories_on_a_server_without_conditional_writes(new_bucket, mount, local):
    bucket = new_bucket("rclone")
    mounted = mount(bucket)
    for directory in (mounted.path, local):
        (directory / "a.txt").write_text("first")
        (directory / "a.txt").write_text("second")
        os.rename(directory / "a.txt", directory / "b.txt")
        (directory / "gone").write_text("x")
        (directory / "gone").unlink()
        with open(directory / "b.txt", "r+b") as file:
            os.pwrite(file.fileno(), b"patched", 100_000)
    assert_same_trees(mounted.path, local)
    mounted.restart()
    assert_same_trees(mounted.path, local)
    assert bucket.keys() == ["b.txt"]


def test_without_conditional_writes_an_edit_of_somebody_else_is_still_noticed(new_bucket, mount):
    """A HEAD before the upload stands in for If-Match."""
    bucket = new_bucket("rclone")
    bucket.put("shared", b"first")
    mounted = mount(bucket)
    with fails("ESTALE"), open(mounted.path / "shared", "r+b") as file:
        file.write(b"ours, edited")
        bucket.put("shared", b"theirs, edited")
    assert bucket.get("shared") == b"theirs, edited"
    (conflict,) = [key for key in bucket.keys() if key != "shared"]
    assert conflict.startswith("shared (conflict ")
    assert bucket.get(conflict) == b"ours, edited"
