"""The server goes away and comes back: what was written is not lost, and nobody is told it was stored before it is."""

import os

import pytest
from support.commands import eventually
from support.errors import fails
from support.processes import is_alive, is_mounted, wait_until_ended

CONTENT = os.urandom(300_000)


@pytest.fixture
def middle(bucket, proxy):
    return proxy(bucket.server)


def test_close_fails_and_the_next_mount_uploads(bucket, mount, middle):
    mounted = mount(bucket, endpoint=middle.endpoint)
    bucket.put("old", b"old content")
    (mounted.path / "before").write_bytes(b"x")
    with fails("EIO", "ETIMEDOUT"), open(mounted.path / "new", "wb", buffering=0) as file:
        file.write(CONTENT)
        middle.stop()
    assert len(mounted.unsent()) == 1

    result = mounted.waysfs.run("umount", mounted.path, check=False)
    assert result.returncode == 2, result.stderr
    assert "1 file could not be uploaded" in result.stderr and str(mounted.cache) in result.stderr
    wait_until_ended(mounted.pid)
    mounted.may_be_dead = True
    assert not is_mounted(mounted.path)
    assert len(mounted.unsent()) == 1

    middle.start()
    mounted.start()
    eventually(lambda: bucket.head("new"), "the file of the mount before is uploaded")
    assert bucket.get("new") == CONTENT
    mounted.wait_until_sent()
    assert (mounted.path / "new").read_bytes() == CONTENT


def test_fsync_fails_too_and_a_second_try_may_succeed(bucket, mount, middle):
    mounted = mount(bucket, endpoint=middle.endpoint)
    with open(mounted.path / "file", "wb", buffering=0) as file:
        file.write(CONTENT)
        middle.stop()
        with fails("EIO", "ETIMEDOUT"):
            os.fsync(file.fileno())
        # The bytes are still here.
        assert (mounted.path / "file").read_bytes() == CONTENT
        middle.start()
        os.fsync(file.fileno())
        assert bucket.get("file") == CONTENT
    mounted.wait_until_sent()


def test_a_failed_file_is_uploaded_at_the_unmount(bucket, mount, middle):
    mounted = mount(bucket, endpoint=middle.endpoint)
    with fails("EIO", "ETIMEDOUT"), open(mounted.path / "file", "wb", buffering=0) as file:
        file.write(CONTENT)
        middle.stop()
    middle.start()
    assert (mounted.path / "file").read_bytes() == CONTENT
    mounted.unmount()
    assert bucket.get("file") == CONTENT
    assert mounted.unsent() == []


def fail_to_store(mounted, middle, mode, content):
    """Writes while the server is away, and ends the mount."""
    with fails("EIO", "ETIMEDOUT"), open(mounted.path / "file", mode, buffering=0) as file:
        file.write(content)
        middle.stop()
    assert mounted.waysfs.run("umount", mounted.path, check=False).returncode == 2
    wait_until_ended(mounted.pid)
    mounted.may_be_dead = True


def test_a_file_that_was_not_sent_meets_a_newer_version(bucket, mount, middle):
    """Taken up by the next mount after somebody else changed the object: both are kept."""
    bucket.put("file", b"first")
    mounted = mount(bucket, endpoint=middle.endpoint)
    fail_to_store(mounted, middle, "wb", b"ours")
    bucket.put("file", b"theirs")
    middle.start()
    mounted.start()
    (conflict,) = eventually(lambda: bucket.keys("file ("), "our version is stored beside the other")
    assert bucket.get("file") == b"theirs" and bucket.get(conflict) == b"ours"
    mounted.wait_until_sent()


def test_an_edit_that_was_not_sent_and_whose_base_is_gone(bucket, mount, middle):
    """What was not edited was in the version that is gone, so no whole file can be made: the bytes are kept."""
    bucket.put("file", b"first, and more")
    mounted = mount(bucket, endpoint=middle.endpoint)
    fail_to_store(mounted, middle, "r+b", b"ours")
    bucket.put("file", b"theirs")
    middle.start()
    mounted.start()
    eventually(lambda: "the changed bytes are kept and not sent" in mounted.log_text(), "the log says so")
    assert bucket.keys() == ["file"] and bucket.get("file") == b"theirs"
    assert len(mounted.unsent()) == 1
    assert [path.read_bytes()[:4] for path in mounted.kept()] == [b"ours"]
    mounted.may_be_dead = True
    result = mounted.waysfs.run("umount", mounted.path, check=False)
    assert result.returncode == 2 and str(mounted.cache) in result.stderr


def test_a_large_file_through_an_outage(bucket, mount, middle):
    """Some parts have left before, some follow after: the whole is whole."""
    mounted = mount(bucket, endpoint=middle.endpoint)
    with open(mounted.path / "large", "wb", buffering=0) as file:
        for number in range(100):
            file.write(CONTENT)
            if number == 50:
                middle.stop()
            if number == 60:
                middle.start()
    assert bucket.get("large") == CONTENT * 100


def test_other_calls_fail_and_recover(bucket, mount, middle):
    mounted = mount(bucket, "--metadata-ttl", "0", endpoint=middle.endpoint)
    bucket.put("file", b"x")
    assert os.listdir(mounted.path) == ["file"]
    middle.stop()
    for call in (
        lambda: os.listdir(mounted.path),
        lambda: os.stat(mounted.path / "file"),
        lambda: (mounted.path / "directory").mkdir(),
    ):
        with fails("EIO", "ETIMEDOUT"):
            call()
    middle.start()
    assert os.listdir(mounted.path) == ["file"]
    (mounted.path / "directory").mkdir()
    assert is_alive(mounted.pid)
    os.rename(mounted.path / "file", mounted.path / "directory" / "file")
    assert bucket.get("directory/file") == b"x"


def test_a_rename_whose_server_goes_away_loses_nothing(bucket, mount, middle):
    """Copied, but not yet deleted: at least one whole copy at every moment."""
    mounted = mount(bucket, endpoint=middle.endpoint)
    bucket.put("old", CONTENT)
    middle.script = lambda request, forward: None if request.method == "DELETE" else forward()
    with fails("EIO", "ETIMEDOUT"):
        os.rename(mounted.path / "old", mounted.path / "new")
    assert CONTENT in [bucket.get(key) for key in bucket.keys()]
    middle.script = lambda request, forward: None if "x-amz-copy-source" in dict(request.headers) else forward()
    bucket.put("old", CONTENT)
    with fails("EIO", "ETIMEDOUT"):
        os.rename(mounted.path / "old", mounted.path / "other")
    assert bucket.get("old") == CONTENT
    middle.script = lambda request, forward: forward()
    os.rename(mounted.path / "old", mounted.path / "other")
    assert bucket.get("other") == CONTENT and bucket.head("old") is None
