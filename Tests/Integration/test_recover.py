"""waysfs recover: what a daemon that was killed had not uploaded is shown, saved, discarded and uploaded by hand."""

import json
import os
import pty

import pytest
from support.errors import fails
from support.faults import busy

TEXT = b"nobody else has this\n"
LARGE = os.urandom(3_000_000)


class Left:
    """What a killed daemon left: `docs/a`, `docs/b` closed, `docs/open` never closed, and nothing of it in the bucket."""

    def __init__(self, bucket, mounted, server):
        self.bucket, self.mounted, self.server = bucket, mounted, server
        self.options = mounted.options[: mounted.options.index("--log-file")]

    def recover(self, *arguments, check=True, **options):
        return self.mounted.waysfs.run("recover", *arguments, *self.options, check=check, **options)

    def items(self, *arguments):
        return json.loads(self.recover("--json", *arguments).stdout)

    def keys(self):
        return sorted(item["key"] for item in self.items())


def refuse_uploads(request, forward):
    """Every file of the directory, but not its marker."""
    if request.method in ("PUT", "POST") and request.key.startswith("docs/") and request.key != "docs/":
        return busy(request, forward)
    return forward()


@pytest.fixture
def left(bucket, mount, proxy):
    server = proxy(bucket.server)
    mounted = mount(bucket, mode="writeback", endpoint=server.endpoint)
    (mounted.path / "docs").mkdir()
    server.script = refuse_uploads
    (mounted.path / "docs/a").write_bytes(TEXT)
    (mounted.path / "docs/b").write_bytes(LARGE)
    left = Left(bucket, mounted, server)
    assert {(item["key"], item["in_use"]) for item in left.items()} == {("docs/a", True), ("docs/b", True)}
    refused = left.recover("--discard", "docs/a", "--yes", check=False)
    assert refused.returncode == 1 and "a running mount" in refused.stderr
    # No program is started while it is open: a child that closes its copy closes the file for the kernel.
    file = os.open(mounted.path / "docs/open", os.O_WRONLY | os.O_CREAT)
    os.write(file, TEXT)
    mounted.kill()
    with fails("ENOTCONN", "ECONNABORTED"):
        os.close(file)
    mounted.waysfs.run("umount", mounted.path)
    return left


def test_nothing_is_kept(waysfs, tmp_path):
    result = waysfs.run("recover", "--cache-dir", tmp_path / "none")
    assert result.stdout == f"Nothing is kept in {tmp_path}/none.\n" and result.stderr == ""
    assert json.loads(waysfs.run("recover", "--json", "--cache-dir", tmp_path).stdout) == []


def test_what_is_left_is_listed(left):
    items = {item["key"]: item for item in left.items()}
    assert {key: item["state"] for key, item in items.items()} == {
        "docs/a": "pending", "docs/b": "pending", "docs/open": "open"
    }
    assert items["docs/b"]["size"] == len(LARGE) and not items["docs/b"]["in_use"]
    assert items["docs/a"]["mount"] == f"{left.server.endpoint}/{left.bucket.name}"
    lines = left.recover().stdout.splitlines()
    assert lines[0] == f"{left.server.endpoint}/{left.bucket.name}"
    assert lines[1].split() == ["NAME", "SIZE", "AGE", "STATE", "ID", "REASON"]
    assert any("docs/b" in line and items["docs/b"]["id"] in line for line in lines)
    assert len(left.items(left.bucket.name)) == 3 and left.items("another-bucket") == []


def test_export_writes_files_and_overwrites_none(left, local):
    (local / "docs").mkdir()
    (local / "docs/a").write_text("older")
    assert len(left.recover("--export", local).stdout.splitlines()) == 3
    assert (local / "docs/a").read_text() == "older"
    assert (local / "docs/a (2)").read_bytes() == TEXT
    assert (local / "docs/b").read_bytes() == LARGE
    assert (local / "docs/open").read_bytes() == TEXT
    assert left.keys() == ["docs/a", "docs/b", "docs/open"]


@pytest.mark.time_limit(120)
def test_export_beside_a_mount(left, local):
    """The server takes nothing, so all of it is still there, in the hands of a mount."""
    left.mounted.start_after_death()
    assert len(left.recover("--export", local).stdout.splitlines()) == 3
    assert (local / "docs/a").read_bytes() == TEXT and (local / "docs/b").read_bytes() == LARGE
    assert (local / "docs/open").read_bytes() == TEXT
    assert {(item["key"], item["state"], item["in_use"]) for item in left.items()} == {
        ("docs/a", "pending", True), ("docs/b", "pending", True), ("docs/open", "recovered", True)
    }
    # What an earlier mount left counts, too.
    left.mounted.may_be_dead = True
    assert left.mounted.waysfs.run("umount", left.mounted.path, check=False).returncode == 2


def test_discard_asks(left):
    nobody = left.recover("--discard", "docs/a", check=False)
    assert nobody.returncode == 1 and "--yes" in nobody.stderr
    for answer, kept in [(b"n\n", True), (b"y\n", False)]:
        keyboard, terminal = pty.openpty()
        os.write(keyboard, answer)
        result = left.recover("--discard", "docs/a", stdin=terminal)
        os.close(terminal)
        os.close(keyboard)
        assert "Remove docs/a (21 bytes, " in result.stderr
        assert ("docs/a" in left.keys()) is kept
    missing = left.recover("--discard", "docs/a", "--yes", check=False)
    assert missing.returncode == 1 and "there is no 'docs/a'" in missing.stderr
    left.recover("--discard", next(item["id"] for item in left.items() if item["state"] == "open"), "--yes")
    assert left.keys() == ["docs/b"]
    assert left.bucket.head("docs/a") is None


def test_upload_sends_what_was_closed(left):
    left.server.stop()
    unreachable = left.recover(left.bucket.name, "--upload", check=False)
    assert unreachable.returncode == 1 and unreachable.stderr.count("\n") == 1
    assert left.keys() == ["docs/a", "docs/b", "docs/open"]
    left.server.start()
    left.server.script = lambda request, forward: forward()
    assert left.recover(left.bucket.name, "--upload").stdout == "2 files are in the bucket now.\n"
    assert left.bucket.get("docs/a") == TEXT and left.bucket.get("docs/b") == LARGE
    assert left.bucket.head("docs/open") is None
    # What was never closed is kept for a person.
    assert [(item["key"], item["state"]) for item in left.items()] == [("docs/open", "recovered")]
    assert "nothing to upload" in left.recover(left.bucket.name, "--upload").stdout


@pytest.mark.time_limit(120)
def test_upload_that_fails_keeps_everything(left):
    """The server answers, but takes nothing."""
    result = left.recover(left.bucket.name, "--upload", check=False)
    assert result.returncode == 1
    assert "2 of 2 files could not be uploaded" in result.stderr
    assert left.keys() == ["docs/a", "docs/b", "docs/open"]
