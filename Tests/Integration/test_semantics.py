"""The table of promises in docs/semantics.md: one test a row, in both write modes, with the name of the row."""

import inspect
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from support.commands import eventually, run
from support.errors import fails, outcome
from support.faults import Hold, heal, is_copy, refuse
from support.processes import is_mounted, wait_until_ended

DOCUMENT = Path(__file__).parents[2] / "docs" / "semantics.md"
CONTENT = os.urandom(100_000)


def test_each_row_has_a_test():
    section = DOCUMENT.read_text().partition("## The promises\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    assert rows[:2] == [" call ", "---"]
    wanted = {"test_" + re.sub(r"\W+", "_", row.replace("`", "").lower()).strip("_") for row in rows[2:]}
    module = sys.modules[__name__]
    found = {
        name
        for name, test in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("test_") and "mode" in inspect.signature(test).parameters
    }
    assert wanted == found


@pytest.fixture
def between(bucket, mount, mode, proxy):
    """A mount in each mode that reaches its server through a proxy."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--metadata-ttl", "0", mode=mode, endpoint=middle.endpoint)
    return middle, mounted.ask_what_is_asked_once()


def die_and_mount(mounted, hold):
    """Kills the daemon while requests are held, which are then lost, and mounts again."""
    mounted.kill()
    hold.drop()
    mounted.start_after_death()
    mounted.wait_for_uploads()


def test_close(mode, bucket, between):
    middle, mounted = between
    path = mounted.path / "file"
    if mode == "close":
        path.write_bytes(CONTENT)
        assert bucket.get("file") == CONTENT
        refuse(middle)
        with fails("EACCES"):
            path.write_bytes(b"refused")
        assert bucket.get("file") == CONTENT
        assert any(kept.read_bytes() == b"refused" for kept in mounted.kept())
        heal(middle)
        mounted.wait_for_uploads()
        assert bucket.get("file") == b"refused"
        return
    hold = Hold(middle)
    path.write_bytes(CONTENT)
    eventually(lambda: hold.held, "the upload begins")
    assert bucket.head("file") is None
    assert path.read_bytes() == CONTENT
    die_and_mount(mounted, hold)
    assert bucket.get("file") == CONTENT


def test_fsync(mode, bucket, between):
    """That the journal is on stable storage by then is tested in test_crash.py."""
    middle, mounted = between
    with open(mounted.path / "file", "wb", buffering=0) as file:
        file.write(CONTENT)
        if mode == "close":
            os.fsync(file.fileno())
            assert bucket.get("file") == CONTENT
            return
        hold = Hold(middle)
        os.fsync(file.fileno())
        file.write(b"not synced")
        mounted.kill()
        with fails("ENOTCONN", "ECONNABORTED"):
            file.close()
    hold.drop()
    mounted.start_after_death()
    mounted.wait_for_uploads()
    assert bucket.get("file") == CONTENT


def test_fsync_of_a_directory(mode, bucket, between):
    middle, mounted = between
    directory = mounted.path / "directory" / "below"
    directory.mkdir(parents=True)
    for number in range(10):
        (directory / f"file{number}").write_bytes(CONTENT[number:])
    mounted.wait_for_uploads("directory")
    for number in range(10):
        assert bucket.get(f"directory/below/file{number}") == CONTENT[number:]
    refuse(middle)
    assert outcome((directory / "refused").write_bytes, CONTENT) == ("EACCES" if mode == "close" else "done")
    for _ in range(2):
        with fails("EACCES"):
            mounted.wait_for_uploads("directory")
    heal(middle)
    mounted.wait_for_uploads("directory")
    assert bucket.get("directory/below/refused") == CONTENT


def test_rename_of_a_file(mode, bucket, between):
    middle, mounted = between
    old, new = mounted.path / "old", mounted.path / "new"
    # At once after the close: in write-back mode its upload has not begun.
    old.write_bytes(CONTENT)
    os.rename(old, new)
    assert outcome(os.stat, old) == "ENOENT" and new.read_bytes() == CONTENT
    if mode == "writeback":
        mounted.wait_for_uploads()
    assert bucket.keys() == ["new"] and bucket.get("new") == CONTENT

    # The daemon dies when the copy is made and the old name not yet deleted.
    hold = Hold(middle, lambda request: request.method == "DELETE")
    with mounted.program("import os, sys; os.rename(sys.argv[1], sys.argv[2])", new, old):
        eventually(lambda: hold.held, "the old name is about to be deleted")
        assert [bucket.get(key) for key in bucket.keys()] == [CONTENT] * 2
        die_and_mount(mounted, hold)
    assert bucket.keys() == ["old"] and bucket.get("old") == CONTENT
    assert os.listdir(mounted.path) == ["old"]


def test_rename_of_a_directory(mode, bucket, between):
    middle, mounted = between
    old, new = mounted.path / "old", mounted.path / "new"
    (old / "below").mkdir(parents=True)
    names = ["a", "b", "below/c", "below/d"]
    for name in names:
        (old / name).write_bytes(CONTENT + name.encode())

    def stored(root):
        return {key: bucket.get(key) for key in bucket.keys() if not key.endswith("/")} == {
            f"{root}/{name}": CONTENT + name.encode() for name in names
        }

    refuse(middle, lambda request: is_copy(request) and request.key.endswith("below/c"))
    with fails("EACCES"):
        os.rename(old, new)
    heal(middle)
    mounted.wait_for_uploads()
    assert stored("old")
    os.rename(old, new)
    assert stored("new") and os.listdir(mounted.path) == ["new"]

    # The daemon dies when some copies are made.
    hold = Hold(middle, lambda request: is_copy(request) and request.key.endswith("below/d"))
    with mounted.program("import os, sys; os.rename(sys.argv[1], sys.argv[2])", new, old):
        eventually(lambda: hold.held, "the copies are being made")
        die_and_mount(mounted, hold)
    assert stored("old") or stored("new")
    # And when all are, but not all of the old names are deleted.
    old, new = (mounted.path / name for name in (["old", "new"] if stored("old") else ["new", "old"]))
    hold = Hold(middle, lambda request: request.method == "DELETE" or "delete" in request.query)
    with mounted.program("import os, sys; os.rename(sys.argv[1], sys.argv[2])", old, new):
        eventually(lambda: hold.held, "the old names are about to be deleted")
        die_and_mount(mounted, hold)
    assert stored(new.name)


def test_unlink_rmdir_mkdir_symlink(mode, bucket, between):
    _, mounted = between
    root = mounted.path
    (root / "directory").mkdir()
    assert bucket.keys() == ["directory/"]
    (root / "link").symlink_to("target")
    assert bucket.get("link") == b"target"
    (root / "link").unlink()
    assert bucket.keys() == ["directory/"]
    (root / "directory").rmdir()
    assert bucket.keys() == []
    # A file that waits for its upload does not come back.
    (root / "file").write_bytes(CONTENT)
    (root / "file").unlink()
    assert bucket.keys() == []
    mounted.wait_for_uploads()
    mounted.restart()
    assert bucket.keys() == [] and os.listdir(root) == []


def test_chmod_chown_utimensat(mode, bucket, between):
    _, mounted = between
    path = mounted.path / "file"
    bucket.put("file", CONTENT)

    def change(mode, owner, moment):
        os.chmod(path, mode)
        os.utime(path, ns=(moment, moment))
        if os.getuid() == 0:
            os.chown(path, owner, owner)

    def stored(mode, owner, moment):
        found = bucket.metadata("file")
        wanted = {"mode": str(0o100000 | mode), "mtime": str(moment // 10**9)}
        if os.getuid() == 0:
            wanted.update(uid=str(owner), gid=str(owner))
        return {name: found[name].split(".")[0] for name in wanted} == wanted

    change(0o640, 1234, 10**18)
    assert stored(0o640, 1234, 10**18)
    # Of a file that is being written, and of one that waits for its upload.
    with open(path, "r+b", buffering=0) as file:
        file.write(b"changed")
        change(0o600, 5678, 11 * 10**17)
    if mode == "writeback":
        change(0o644, 9876, 12 * 10**17)
        assert os.stat(path).st_mode == 0o100644
        mounted.wait_for_uploads()
        assert stored(0o644, 9876, 12 * 10**17)
    else:
        assert stored(0o600, 5678, 11 * 10**17)
    assert bucket.get("file") == b"changed" + CONTENT[7:]


def test_truncate(mode, bucket, between):
    middle, mounted = between
    bucket.put("file", CONTENT)
    os.truncate(mounted.path / "file", 500)
    assert bucket.get("file") == CONTENT[:500]
    # Of a file that is open, or waits for its upload.
    with open(mounted.path / "file", "r+b", buffering=0) as file:
        file.write(b"changed")
        os.truncate(mounted.path / "file", 100)
        assert os.fstat(file.fileno()).st_size == 100
    os.truncate(mounted.path / "file", 60)
    expected = b"changed" + CONTENT[7:60]
    assert bucket.get("file") == expected
    refuse(middle)
    with fails("EACCES"):
        os.truncate(mounted.path / "file", 10)
    heal(middle)
    mounted.wait_for_uploads()
    assert bucket.get("file") == expected[:10]


def end(mounted, way):
    """Ends a mount in one of the ways; returns what was said."""
    mounted.may_be_dead = True
    if way == "waysfs umount":
        result = mounted.waysfs.run("umount", mounted.path, check=False)
    elif way == "umount":
        result = run("umount", mounted.path) if os.getuid() == 0 else run("fusermount3", "-u", mounted.path)
    else:
        os.kill(mounted.pid, signal.SIGTERM)
        result = None
    wait_until_ended(mounted.pid)
    assert not is_mounted(mounted.path)
    return mounted.log_text() + (result.stderr if result else "")


@pytest.mark.parametrize("way", ["waysfs umount", "umount", "SIGTERM"])
def test_umount_waysfs_umount_sigterm(way, mode, bucket, between):
    middle, mounted = between
    for number in range(20):
        (mounted.path / f"file{number}").write_bytes(CONTENT[number:])
    assert "could not be uploaded" not in end(mounted, way)
    for number in range(20):
        assert bucket.get(f"file{number}") == CONTENT[number:]
    assert mounted.unsent() == []

    mounted.start()
    refuse(middle)
    outcome((mounted.path / "refused").write_bytes, CONTENT)
    words = end(mounted, way)
    assert "1 file could not be uploaded" in words and str(mounted.cache) in words
    assert bucket.head("refused") is None and mounted.unsent() != []
    heal(middle)
    mounted.start()
    mounted.wait_for_uploads()
    assert bucket.get("refused") == CONTENT
    mounted.wait_until_sent()


def test_read(mode, bucket, between):
    middle, mounted = between
    path = mounted.path / "file"
    size = 3_000_000
    first, second = b"1" * size, b"2" * size
    bucket.put("file", first)
    # What was read stays, what was not is of that version or an error.
    with open(path, "rb", buffering=0) as file:
        assert file.read(1000) == first[:1000]
        bucket.put("file", second)
        try:
            assert os.pread(file.fileno(), 1000, size - 1000) == first[:1000]
        except OSError as error:
            assert outcome(os.pread, file.fileno(), 1000, size - 1000) == "ESTALE", error
    assert path.read_bytes() == second

    # Every second answer breaks off.
    counts = []

    def script(request, forward):
        answer = forward()
        counts.append(request)
        if request.method == "GET" and request.key and len(counts) % 2:
            answer.headers.append(("Content-Length", str(len(answer.body))))
            answer.cut = len(answer.body) // 2
        return answer

    middle.script = script
    mounted.restart()
    assert path.read_bytes() == second
    heal(middle)

    # One's own: before, during and after the upload.
    hold = Hold(middle)
    with open(path, "r+b", buffering=0) as file:
        file.write(b"own")
        assert path.read_bytes() == b"own" + second[3:]
        if mode == "close":
            hold.release()
    assert path.read_bytes() == b"own" + second[3:]
    hold.release()
    mounted.wait_for_uploads()
    assert path.read_bytes() == b"own" + second[3:] == bucket.get("file")


def test_open_with_o_creat_and_o_excl(mode, bucket, between, mount):
    _, mounted = between
    other = mount(bucket, mode=mode)
    assert os.listdir(other.path) == []
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    descriptor = os.open(mounted.path / "lock", flags)
    assert bucket.get("lock") == b""
    with fails("EEXIST"):
        os.open(other.path / "lock", flags)
    # Another client may have been first, and nobody here knows of it.
    assert outcome(os.stat, mounted.path / "taken") == outcome(os.stat, other.path / "taken") == "ENOENT"
    bucket.put("taken", b"theirs")
    for root in (mounted.path, other.path):
        with fails("EEXIST"):
            os.open(root / "taken", flags)
    os.write(descriptor, CONTENT)
    os.close(descriptor)
    mounted.wait_for_uploads()
    assert bucket.get("lock") == CONTENT and bucket.get("taken") == b"theirs"


def test_waysfs_flush(mode, bucket, between):
    middle, mounted = between
    for name in ("good", "bad"):
        (mounted.path / name).mkdir()
    for path in ("file", "good/a", "bad/b"):
        (mounted.path / path).write_bytes(CONTENT)
    # Of a file: the directory that it is in.
    for path, keys in (("bad", ["bad/b"]), ("good/a", ["good/a"]), ("", ["file"])):
        mounted.waysfs.run("flush", mounted.path / path)
        assert [bucket.get(key) for key in keys] == [CONTENT]
    refuse(middle)
    outcome((mounted.path / "bad" / "refused").write_bytes, CONTENT)
    for path in ("bad", ""):
        result = mounted.waysfs.run("flush", mounted.path / path, check=False)
        assert result.returncode != 0 and result.stderr.count("\n") == 1, result.stderr
        assert "Permission denied" in result.stderr
    assert bucket.head("bad/refused") is None
    mounted.waysfs.run("flush", mounted.path / "good")
    heal(middle)
    mounted.waysfs.run("flush", mounted.path)
    assert bucket.get("bad/refused") == CONTENT
