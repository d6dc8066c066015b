"""All buckets of an account as one mount: `waysfs mount --all`."""

import ctypes
import errno
import hashlib
import json
import os
import signal
import threading
import uuid
from datetime import datetime
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from support.commands import eventually
from support.errors import fails
from support.patterns import MIB, pattern
from support.processes import daemons, is_mounted, wait_until_ended
from support.proxy import Answer
from support.servers import others

BUSY = Answer(503, body=b"<Error><Code>SlowDown</Code></Error>")


def sync(directory):
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def listed(sandbox):
    """The account's buckets by name, as the control plane describes them."""
    return {bucket["name"]: bucket for bucket in sandbox.call("GET", "/v1/storage/buckets")["buckets"]}


def new_name():
    return f"waysfs-{uuid.uuid4().hex[:12]}"


def journals(cache, bucket):
    return [path for path in cache.glob(f"{bucket}-*") if (path / "lock").exists()]


def unsent(cache, bucket):
    return [path for journal in journals(cache, bucket) for path in journal.glob("files/*.record")]


# MARK: What is seen


def test_the_root_shows_the_buckets(sandbox, account_mount, waysfs):
    root = account_mount("--all", "--metadata-ttl", "0")
    known = listed(sandbox)
    assert {sandbox.first, sandbox.second} <= set(os.listdir(root)) == set(known)
    with os.scandir(root) as entries:
        assert all(entry.is_dir() and entry.inode() == entry.stat().st_ino for entry in entries)
    for name in (sandbox.first, sandbox.second):
        created = datetime.fromisoformat(known[name]["created_at"].replace("Z", "+00:00"))
        assert os.stat(root / name).st_mtime == int(created.timestamp())
    assert len({os.stat(root / name).st_ino for name in known} | {os.stat(root).st_ino}) == len(known) + 1
    assert not (root / "no-such-bucket").exists() and not (root / ".Trash").exists()
    table = waysfs.run("buckets", "list", "--json", environment=sandbox.environment).stdout
    assert {row["name"] for row in json.loads(table)} == set(known)
    with open("/proc/self/mountinfo") as mounts:
        assert any(f" {root} " in line and " fuse.waysfs waysfs:* " in line for line in mounts)


def test_numbers_are_those_of_the_account(sandbox, account_mount):
    sandbox.s3.put_object(Bucket=sandbox.first, Key="a", Body=b"x" * 10_000)
    sandbox.s3.put_object(Bucket=sandbox.first, Key="b/c", Body=b"x")
    root = account_mount("--all", "--metadata-ttl", "0")
    known = listed(sandbox)

    def used(path):
        numbers = os.statvfs(path)
        return (numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize, numbers.f_files - numbers.f_ffree

    def expected(*buckets):
        size = sum(bucket["size_bytes"] for bucket in buckets)
        return -(-size // 4096) * 4096, sum(bucket["object_count"] for bucket in buckets)

    assert used(root) == expected(*known.values())
    assert used(root / sandbox.first) == expected(known[sandbox.first]) == (12_288, 2)
    assert used(root / sandbox.first / "b" / "c") == (12_288, 2)
    assert used(root / sandbox.second) == (0, 0)

    path = root / sandbox.first
    fields = ("region", "created_at", "object_count", "size_bytes", "is_public")
    assert set(os.listxattr(path)) == {f"user.waysfs.{field}" for field in fields}
    for field in fields:
        value = known[sandbox.first][field]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert os.getxattr(path, f"user.waysfs.{field}").decode() == text
    with fails("ENODATA"):
        os.getxattr(path, "user.waysfs.tier")
    with fails("EOPNOTSUPP"):
        os.setxattr(path, "user.waysfs.region", b"mars")
    # As getfattr(1) asks: for the length first, with too little room, with enough.
    library = ctypes.CDLL(None, use_errno=True)
    arguments = os.fsencode(path), b"user.waysfs.size_bytes"
    buffer = ctypes.create_string_buffer(5)
    assert library.getxattr(*arguments, None, 0) == 5
    assert library.getxattr(*arguments, buffer, 4) == -1 and ctypes.get_errno() == errno.ERANGE
    assert library.getxattr(*arguments, buffer, 5) == 5 and buffer.raw == b"10001"
    length = library.listxattr(arguments[0], None, 0)
    assert library.listxattr(arguments[0], buffer, 5) == -1 and ctypes.get_errno() == errno.ERANGE
    assert length == sum(len(f"user.waysfs.{field}") + 1 for field in fields)
    assert os.listxattr(root) == os.listxattr(path / "a") == []


def test_buckets_appear_and_vanish(sandbox, account_mount):
    root = account_mount("--all", "--metadata-ttl", "200ms")
    name = new_name()
    assert not (root / name).exists()
    sandbox.call("POST", "/v1/storage/buckets", {"bucket_name": name})
    eventually((root / name).is_dir, "the new bucket is seen")
    assert name in os.listdir(root)
    (root / name / "file").write_bytes(b"x")
    (root / name / "file").unlink()
    for key in [entry["Key"] for entry in sandbox.s3.list_objects_v2(Bucket=name).get("Contents", [])]:
        sandbox.s3.delete_object(Bucket=name, Key=key)
    sandbox.call("DELETE", f"/v1/storage/buckets/{name}")
    eventually(lambda: not (root / name).exists(), "the bucket is seen to be gone")
    assert name not in os.listdir(root)
    (root / sandbox.first / "still").write_bytes(b"here")


def test_a_bucket_that_may_not_be_read_harms_no_other(sandbox, account_mount, storage):
    forbidden = f"/{sandbox.second}"
    storage.script = lambda request, forward: (
        Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        if request.path.split("?")[0].startswith(forbidden)
        else forward()
    )
    root = account_mount("--all", "--metadata-ttl", "0", *storage.options)
    for _ in range(2):
        with fails("EACCES"):
            os.listdir(root / sandbox.second)
        with fails("EACCES"):
            (root / sandbox.second / "file").read_bytes()
        (root / sandbox.first / "file").write_bytes(b"good")
        assert os.listdir(root / sandbox.first) == ["file"]
        # The other's refusals keep no new pair from this one.
        sandbox.rotate()
        assert (root / sandbox.first / "file").read_bytes() == b"good"
    assert sandbox.second in os.listdir(root)
    assert os.stat(root / sandbox.second).st_nlink == 2


# MARK: Rules of the root


def test_nothing_changes_at_the_root_without_leave(sandbox, account_mount):
    root = account_mount("--all")
    with fails("EPERM"):
        (root / new_name()).mkdir()
    with fails("EPERM"):
        (root / sandbox.first).rmdir()
    assert {sandbox.first, sandbox.second} <= set(listed(sandbox))


def test_the_root_has_nothing_but_buckets(sandbox, account_mount):
    root = account_mount("--all", "--allow-bucket-changes")
    first, second = root / sandbox.first, root / sandbox.second
    (first / "file").write_bytes(b"x")
    (first / "folder").mkdir()
    with fails("EPERM"):
        (root / "file").write_bytes(b"")
    with fails("EPERM"):
        (root / "link").symlink_to("x")
    with fails("EPERM"):
        os.mknod(root / "node")
    with fails("EPERM"):
        os.link(first / "file", root / "hard")
    with fails("EPERM"):
        first.rename(root / new_name())
    with fails("EPERM"):
        first.rename(second / "below")
    with fails("EPERM"):
        (first / "file").rename(root / "file")
    with fails("EXDEV"):
        (first / "file").rename(second / "file")
    with fails("EXDEV"):
        (first / "folder").rename(second / "folder")
    with fails("EPERM"):
        os.chmod(root, 0o700)
    (first / "file").rename(first / "folder" / "file")
    assert (first / "folder" / "file").read_bytes() == b"x"


def test_buckets_are_made_and_removed(sandbox, account_mount, control):
    root = account_mount(
        "--all", "--allow-bucket-changes", "--bucket-tier", "enterprise", environment=control.environment
    )
    asked = len(control.requests)
    for name, error in [("Not-A-Name", "EINVAL"), ("ab", "EINVAL"), ("x" * 64, "ENAMETOOLONG")]:
        with fails(error):
            (root / name).mkdir()
    assert [request.method for request in control.requests[asked:]].count("POST") == 0
    bucket = root / new_name()
    bucket.mkdir()
    sent = [json.loads(request.body) for request in control.requests if request.method == "POST"]
    assert sent == [{"bucket_name": bucket.name, "tier": "enterprise"}]
    assert bucket.name in listed(sandbox) and bucket.name in os.listdir(root)
    assert os.getxattr(bucket, "user.waysfs.tier") == b"enterprise"
    with fails("EEXIST"):
        bucket.mkdir()
    (bucket / "file").write_bytes(b"x")
    os.chmod(bucket / "file", 0o600)
    with fails("ENOTEMPTY"):
        bucket.rmdir()
    assert sandbox.s3.get_object(Bucket=bucket.name, Key="file")["Body"].read() == b"x"
    (bucket / "file").unlink()
    bucket.rmdir()
    assert bucket.name not in listed(sandbox) and not bucket.exists()
    # A name that was in use once is burnt.
    with fails("EEXIST"):
        bucket.mkdir()


def test_the_answer_to_a_creation_gets_lost(sandbox, account_mount, control):
    def script(request, forward):
        answer = forward()
        return None if request.method == "POST" else answer

    control.script = script
    root = account_mount("--all", "--allow-bucket-changes", environment=control.environment)
    bucket = root / new_name()
    bucket.mkdir()
    assert bucket.name in listed(sandbox)
    (bucket / "file").write_bytes(b"x")


def test_a_wrong_command_line_is_refused(sandbox, waysfs, tmp_path):
    point = tmp_path / "mount"
    point.mkdir()
    commands = {
        ("mount", "--all", sandbox.first, point): "leave",
        ("mount", "--all", f"{sandbox.first}:a", point): "leave",
        ("mount", "--bucket-tier", "gold", "--all", point): "--bucket-tier",
        ("mount", point): "is missing",
    }
    for command, words in commands.items():
        result = waysfs.run(*command, environment=sandbox.environment, check=False)
        assert result.returncode == 64 and words in result.stderr and result.stderr.count("\n") == 1, result.stderr
        assert not is_mounted(point)


# MARK: Buckets are mounts of their own


def test_many_buckets_cost_nothing_until_they_are_used(sandbox, waysfs, account_mount, control, storage, tmp_path):
    names = [f"many-{number:03}" for number in range(500)]

    def script(request, forward):
        if request.path != "/v1/storage/buckets":
            return forward()
        buckets = [{"name": name, "created_at": "2024-01-15T10:30:00Z"} for name in [*names, sandbox.first]]
        return Answer(200, body=json.dumps({"buckets": buckets, "total": len(buckets)}).encode())

    control.script = script
    root = account_mount("--all", *storage.options, environment=control.environment)
    # One, of the mount itself: whether the server answers.
    asked = list(storage.requests)
    assert len(asked) == 1
    assert sorted(os.listdir(root)) == sorted([*names, sandbox.first])
    assert [os.stat(root / name).st_mtime for name in names] == [1705314600] * 500
    # Nobody went to any: no request was sent, and nothing is kept for it.
    assert storage.requests == asked
    assert list((tmp_path / "cache").glob("many-*")) == []
    (pid,) = daemons(waysfs.binary, root)
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    # Of a debug build on a machine with many processors; still not one of anything for each bucket.
    assert int(status["VmRSS"].split()[0]) < 192 * 1024
    assert int(status["Threads"]) < 200
    (root / sandbox.first / "file").write_bytes(b"x")
    assert [path.name[:12] for path in (tmp_path / "cache").iterdir() if (path / "lock").exists()] == [
        sandbox.first[:12]
    ]


@pytest.mark.parametrize("mode", ["close", "writeback"])
@pytest.mark.time_limit(120)
def test_two_buckets_do_not_mix(sandbox, account_mount, mode):
    root = account_mount("--all", "--write-mode", mode)
    errors = []

    def work(bucket):
        try:
            for number in range(40):
                path = root / bucket / f"d{number % 4}" / "same" / f"f{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{bucket} {number} ".encode() * 500)
                assert path.read_bytes() == f"{bucket} {number} ".encode() * 500
                if number % 3 == 0:
                    path.rename(path.with_name("moved"))
            for folder, _, names in os.walk(root / bucket):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as file:
                        assert file.read().startswith(f"{bucket} ".encode())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in (sandbox.first, sandbox.second) * 2]
    # Two pairs: the second pair writes the same names again.
    for pair in (threads[:2], threads[2:]):
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
    assert errors == []
    sync(root)
    for name in (sandbox.first, sandbox.second):
        keys = [entry["Key"] for entry in sandbox.s3.list_objects_v2(Bucket=name)["Contents"]]
        files = [key for key in others(keys) if not key.endswith("/")]
        assert len(files) > 20
        for key in files:
            assert sandbox.s3.get_object(Bucket=name, Key=key)["Body"].read().startswith(f"{name} ".encode())
    # One file is one number: to cp(1) two with the same would be one.
    numbers = [os.stat(root / name / "d1" / "same" / "f1").st_ino for name in (sandbox.first, sandbox.second)]
    assert numbers[0] != numbers[1]


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("mode", ["close", "writeback"])
def test_rotation_in_the_middle_of_an_upload_and_a_walk(sandbox, account_mount, mode):
    expected = {f"d{number % 12}/e{number % 3}/f{number}" for number in range(60)}
    for name in expected:
        sandbox.s3.put_object(Bucket=sandbox.second, Key=name, Body=name.encode())
    root = account_mount("--all", "--write-mode", mode, "--metadata-ttl", "0")
    content = pattern(256 * MIB, mode)

    def fail(error):
        raise error

    def walk(rotate_at):
        found = set()
        for number, (directory, _, names) in enumerate(os.walk(root / sandbox.second, onerror=fail)):
            if number == rotate_at:
                sandbox.rotate()
            for name in names:
                path = os.path.join(directory, name)
                found.add(os.path.relpath(path, root / sandbox.second))
                with open(path, "rb") as file:
                    assert file.read() == os.path.relpath(path, root / sandbox.second).encode()
        assert found == expected

    with open(root / sandbox.first / "large", "wb", buffering=0) as file:
        for start in range(0, len(content), 4 * MIB):
            file.write(content[start : start + 4 * MIB])
            if start == 64 * MIB:
                sandbox.rotate()
            if start == 128 * MIB:
                walk(rotate_at=8)
    sandbox.rotate()
    sync(root)
    stored = sandbox.s3.get_object(Bucket=sandbox.first, Key="large")["Body"].read()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(content).digest()
    walk(rotate_at=3)


@pytest.mark.time_limit(300)
def test_the_control_plane_goes_away(sandbox, account_mount, control):
    """For longer than anything that it said is believed."""
    root = account_mount("--all", "--metadata-ttl", "50ms", environment=control.environment)
    (root / sandbox.first / "before").write_bytes(b"x")

    def work():
        for bucket in (sandbox.first, sandbox.second):
            for number in range(20):
                path = root / bucket / f"f{number}"
                path.write_bytes(b"x" * number)
                assert path.read_bytes() == b"x" * number
            assert f"f{number}" in os.listdir(root / bucket)
        assert {sandbox.first, sandbox.second} <= set(os.listdir(root))
        # Nobody knows whether there is such a bucket.
        with fails("EIO", "ETIMEDOUT"):
            os.stat(root / "perhaps")

    def is_noticed():
        try:
            os.stat(root / "perhaps")
        except FileNotFoundError:
            return False
        except OSError:
            return True
        raise AssertionError("there is no such bucket")

    control.stop()
    # The second bucket is opened only now.
    eventually(is_noticed, "it is noticed that nobody answers")
    for _ in range(3):
        work()
    control.start()
    control.script = lambda request, forward: Answer(503, body=b'{"message": "under repair"}')
    asked = len(control.requests)
    eventually(lambda: os.listdir(root) and len(control.requests) > asked, "it is asked again", timeout=60)
    work()
    control.script = lambda request, forward: forward()
    name = new_name()
    sandbox.call("POST", "/v1/storage/buckets", {"bucket_name": name})
    eventually(lambda: name in os.listdir(root), "the new bucket is seen", timeout=80)


# MARK: What is not sent yet


def refuse_uploads(storage, *buckets):
    """Files whose name begins with "unsent" cannot be stored."""

    def script(request, forward):
        bucket = urlsplit(request.path).path.lstrip("/").partition("/")[0]
        refused = request.method in ("PUT", "POST") and request.key.startswith("unsent") and bucket in buckets
        return BUSY if refused else forward()

    storage.script = script


@pytest.mark.time_limit(120)
def test_what_was_left_of_a_bucket_nobody_enters_is_sent(sandbox, waysfs, account_mount, storage, tmp_path):
    root = account_mount("--all", "--write-mode", "writeback", *storage.options)
    refuse_uploads(storage, sandbox.first, sandbox.second)
    for bucket in (sandbox.first, sandbox.second):
        with open(root / bucket / "unsent", "wb") as file:
            file.write(f"of {bucket}".encode() * 1000)
            file.flush()
            os.fsync(file.fileno())
    (pid,) = daemons(waysfs.binary, root)
    os.kill(pid, signal.SIGKILL)
    wait_until_ended(pid)
    waysfs.run("umount", root)
    root.rmdir()
    assert all(unsent(tmp_path / "cache", bucket) for bucket in (sandbox.first, sandbox.second))
    storage.script = lambda request, forward: forward()
    root = account_mount("--all", "--write-mode", "writeback", *storage.options)
    for bucket in (sandbox.first, sandbox.second):
        eventually(lambda: not unsent(tmp_path / "cache", bucket), "what was left is sent")
        stored = sandbox.s3.get_object(Bucket=bucket, Key="unsent")["Body"].read()
        assert stored == f"of {bucket}".encode() * 1000


@pytest.mark.time_limit(120)
def test_what_was_left_of_a_bucket_is_sent_when_it_is_listed_again(
    sandbox, waysfs, account_mount, control, storage, tmp_path
):
    def without_second(request, forward):
        answer = forward()
        if request.path == "/v1/storage/buckets":
            buckets = [each for each in json.loads(answer.body)["buckets"] if each["name"] != sandbox.second]
            answer.body = json.dumps({"buckets": buckets, "total": len(buckets)}).encode()
            answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "content-length"]
        return answer

    options = ("--write-mode", "writeback", "--metadata-ttl", "200ms", *storage.options)
    root = account_mount("--all", *options, environment=control.environment)
    refuse_uploads(storage, sandbox.second)
    (root / sandbox.second / "unsent").write_bytes(b"precious" * 1000)
    assert waysfs.run("umount", root, check=False).returncode == 2
    root.rmdir()
    storage.script = lambda request, forward: forward()
    control.script = without_second
    root = account_mount("--all", *options, environment=control.environment)
    assert sandbox.first in os.listdir(root) and sandbox.second not in os.listdir(root)
    assert unsent(tmp_path / "cache", sandbox.second)
    control.script = lambda request, forward: forward()
    # Nobody goes there: the list is read, and not more.
    eventually(lambda: sandbox.second in os.listdir(root), "the bucket is listed")
    eventually(lambda: not unsent(tmp_path / "cache", sandbox.second), "what was left is sent")
    assert sandbox.s3.get_object(Bucket=sandbox.second, Key="unsent")["Body"].read() == b"precious" * 1000


@pytest.mark.time_limit(240)
def test_the_end_takes_in_every_bucket(sandbox, waysfs, account_mount, storage, tmp_path):
    root = account_mount("--all", "--write-mode", "writeback", *storage.options)
    refuse_uploads(storage, sandbox.second)
    for bucket in (sandbox.first, sandbox.second):
        (root / bucket / "sent").write_bytes(b"x")
        (root / bucket / "unsent").write_bytes(b"y" * 100)
    result = waysfs.run("flush", root, check=False)
    assert result.returncode == 1 and "not everything is in the bucket" in result.stderr
    waysfs.run("flush", root / sandbox.first)
    waysfs.run("flush", root / sandbox.second / "sent")
    assert waysfs.run("flush", root / sandbox.second / "unsent", check=False).returncode == 1
    result = waysfs.run("umount", root, check=False)
    assert result.returncode == 2 and "1 file could not be uploaded" in result.stderr
    assert str(journals(tmp_path / "cache", sandbox.second)[0]) in result.stderr
    assert sandbox.s3.get_object(Bucket=sandbox.first, Key="unsent")["Body"].read() == b"y" * 100
    assert not unsent(tmp_path / "cache", sandbox.first) and unsent(tmp_path / "cache", sandbox.second)
    root.rmdir()
    # A mount of that bucket alone takes it up: the journals are the same.
    storage.script = lambda request, forward: forward()
    account_mount(sandbox.second, *storage.options)
    eventually(lambda: not unsent(tmp_path / "cache", sandbox.second), "what was left is sent")
    assert sandbox.s3.get_object(Bucket=sandbox.second, Key="unsent")["Body"].read() == b"y" * 100


@pytest.mark.time_limit(240)
def test_a_bucket_that_vanishes_takes_nothing_along(sandbox, waysfs, account_mount, storage, tmp_path):
    root = account_mount("--all", "--write-mode", "writeback", "--metadata-ttl", "200ms", *storage.options)
    refuse_uploads(storage, sandbox.second)
    (root / sandbox.second / "unsent").write_bytes(b"precious" * 1000)
    (root / sandbox.first / "file").write_bytes(b"x")
    tried = [("PUT", "unsent"), ("POST", "unsent")]
    eventually(lambda: any((made.method, made.key) in tried for made in storage.requests), "it is tried")

    def is_removed():
        # The mount may be trying out the server there: its scratch object is in the way until it is done.
        for entry in sandbox.s3.list_objects_v2(Bucket=sandbox.second).get("Contents", []):
            sandbox.s3.delete_object(Bucket=sandbox.second, Key=entry["Key"])
        try:
            sandbox.call("DELETE", f"/v1/storage/buckets/{sandbox.second}")
        except HTTPError as error:
            assert error.code == 409
            return False
        return True

    eventually(is_removed, "the bucket is removed")
    eventually(lambda: not (root / sandbox.second).exists(), "the bucket is gone")
    storage.script = lambda request, forward: forward()
    result = waysfs.run("umount", root, check=False, timeout=90)
    assert result.returncode == 2 and "could not be uploaded" in result.stderr
    rows = json.loads(waysfs.run("recover", "--json", "--cache-dir", tmp_path / "cache").stdout)
    assert [(row["key"], row["size"]) for row in rows] == [("unsent", 8000)]
    export = tmp_path / "export"
    export.mkdir()
    waysfs.run("recover", "--export", export, "--cache-dir", tmp_path / "cache")
    assert [path.read_bytes() for path in export.rglob("*unsent*")] == [b"precious" * 1000]


# MARK: Without an API key


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_with_a_key_pair_alone_the_server_lists(server, new_bucket, mount):
    bucket = new_bucket(server)
    bucket.put("file", b"x")
    made = mount(bucket, "--all", "--allow-bucket-changes", "--metadata-ttl", "0", start=False)
    made.source = "*"
    root = made.start().path
    assert (root / bucket.name / "file").read_bytes() == b"x"
    other = root / new_name()
    other.mkdir()
    (other / "file").write_bytes(b"y")
    os.chmod(other / "file", 0o600)
    names = [entry["Name"] for entry in bucket.client.list_buckets()["Buckets"]]
    assert other.name in names and set(names) == set(os.listdir(root))
    # To the kernel the directory that was removed is dead for as long as somebody is in it.
    held = os.open(other, os.O_RDONLY | os.O_DIRECTORY)
    (other / "file").unlink()
    other.rmdir()
    other.mkdir()
    (other / "file").write_bytes(b"z")
    os.close(held)
    assert (other / "file").read_bytes() == b"z" and os.listdir(other) == ["file"]
    with fails("ENOTEMPTY"):
        other.rmdir()
    (other / "file").unlink()
    other.rmdir()
    # What the first file begins in the background is no reason to keep the bucket.
    for _ in range(5):
        other.mkdir()
        with pytest.raises(FileExistsError):
            other.mkdir()
        (other / "file").touch()
        (other / "file").unlink()
        other.rmdir()
    assert other.name not in [entry["Name"] for entry in bucket.client.list_buckets()["Buckets"]]
    assert not other.exists()
