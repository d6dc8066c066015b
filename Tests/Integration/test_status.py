"""`waysfs status` tells the truth: beside what the server saw, and when things go wrong."""

import contextlib
import json
import mmap
import os
import pty
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

import pytest
from support import exposition
from support.commands import eventually
from support.errors import fails
from support.machine import need_root
from support.processes import wait_until_ended

MEBI = 1 << 20


def status(mounted, *options, code=0):
    """What the mount says of itself, as JSON."""
    result = mounted.waysfs.run("status", "--json", *options, mounted.path, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["format_version"] == 1
    (found,) = document["mounts"]
    return found


def operation(request):
    """The name of a request in S3's API."""
    query = urllib.parse.parse_qs(request.query, keep_blank_values=True)
    has_source = any(name.lower() == "x-amz-copy-source" for name, _ in request.headers)
    if "uploadId" in query or "uploads" in query:
        return {
            ("POST", False): "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
            ("PUT", False): "UploadPart",
            ("PUT", True): "UploadPartCopy",
            ("DELETE", False): "AbortMultipartUpload",
            ("GET", False): "ListMultipartUploads" if "uploads" in query else "ListParts",
        }[(request.method, has_source)]
    if not request.key:
        return {"GET": "ListObjectsV2", "POST": "DeleteObjects", "HEAD": "HeadBucket"}[request.method]
    return {
        "GET": "GetObject",
        "HEAD": "HeadObject",
        "PUT": "CopyObject" if has_source else "PutObject",
        "DELETE": "DeleteObject",
    }[request.method]


def counted(middle, since=0):
    """What a proxy saw, by operation, without what came before the mount counted."""
    return Counter(operation(request) for request in middle.requests[since:])


def told(found):
    (bucket,) = found["buckets"]
    return Counter({request["operation"]: request["requests"] for request in bucket["requests"]})


@pytest.fixture
def middle(bucket, proxy):
    return proxy(bucket.server)


@pytest.fixture
def tree(tmp_path):
    """A tree to copy: small files, and one that goes in parts."""
    source = tmp_path / "tree"
    for outer in range(4):
        (source / f"d{outer}").mkdir(parents=True)
        for inner in range(25):
            (source / f"d{outer}" / f"f{inner}").write_bytes(os.urandom(1000 * inner))
    (source / "large").write_bytes(os.urandom(20 * MEBI))
    return source


@pytest.mark.time_limit(120)
def test_numbers_during_a_copy_are_those_of_the_server(bucket, mount, middle, tree):
    mounted = mount(bucket, endpoint=middle.endpoint).ask_what_is_asked_once()
    # Whether the bucket is there is asked before the mount counts.
    before = 1
    held, gate = [], threading.Event()

    def script(request, forward):
        # In the middle of the copy, which has one request under way at a time, one is held. Before it an empty object
        # was made: cp opens with O_EXCL.
        if request.key.endswith("d2/f7") and len(request.body) == 7000:
            held.append(request)
            gate.wait(60)
        return forward()

    middle.script = script
    copy = subprocess.Popen(["cp", "-r", tree, mounted.path])
    try:
        eventually(lambda: held, "the copy has come half-way", timeout=60)

        def agree_but_for_the_held():
            found = status(mounted)
            return found if told(found) + Counter({"PutObject": 1}) == counted(middle, before) else None

        found = eventually(agree_but_for_the_held, "status and server agree during the copy")
        (upload,) = found["buckets"][0]["uploads"]
        assert upload["path"].endswith("d2/f7") and upload["state"] == "uploading" and upload["size"] == 7000
    except BaseException:
        copy.kill()
        raise
    finally:
        gate.set()
    totals = [sum(told(found).values())]
    while copy.poll() is None:
        totals.append(sum(told(status(mounted)).values()))
        # None is counted that was not sent.
        assert totals[-1] <= len(middle.requests) - before
    assert copy.returncode == 0
    assert totals == sorted(totals)

    def agree():
        found = status(mounted)
        return found if told(found) == counted(middle, before) else None

    found = eventually(agree, "status and server agree")
    (report,) = found["buckets"]
    sent = sum(len(request.body) for request in middle.requests[before:])
    assert report["sent_bytes"] == sent > 20 * MEBI
    assert report["pending_files"] == 0 and report["failed_files"] == 0 and report["uploads"] == []
    by_name = {request["operation"]: request for request in report["requests"]}
    assert by_name["PutObject"]["requests"] > 100 and by_name["UploadPart"]["requests"] >= 3
    for request in report["requests"]:
        assert request["whole"]["count"] == request["requests"]
        if request["requests"]:
            quantiles = [request["whole"][f"p{part}_seconds"] for part in (50, 90, 99)]
            assert quantiles == sorted(quantiles) and 0 < quantiles[0] < 60

    # Reading everything back is counted as well, and so are the bytes.
    for path in tree.rglob("*"):
        if path.is_file():
            assert (mounted.path / tree.name / path.relative_to(tree)).read_bytes() == path.read_bytes()
    found = eventually(agree, "status and server agree after reading")
    calls = {entry["operation"]: entry["duration"]["count"] for entry in found["operations"]}
    assert calls["create"] == 102 and calls["write"] >= 97 and calls["mkdir"] == 5


def test_received_bytes_are_those_of_the_objects(bucket, mount, middle):
    bucket.put("file", os.urandom(3 * MEBI))
    mounted = mount(bucket, endpoint=middle.endpoint)
    assert len((mounted.path / "file").read_bytes()) == 3 * MEBI
    (report,) = eventually(
        lambda: (lambda found: found["buckets"] if told(found) == counted(middle, 1) else None)(status(mounted)),
        "all answers are counted",
    )
    gets = next(request for request in report["requests"] if request["operation"] == "GetObject")
    assert gets["received_bytes"] == 3 * MEBI
    assert report["received_bytes"] > 3 * MEBI
    assert report["received_bytes_per_second"] > 0
    found = status(mounted)
    assert found["block_cache"]["misses"] > 0
    assert 3 * MEBI <= found["block_cache"]["used_bytes"] <= found["block_cache"]["limit_bytes"]
    assert found["memory"]["used_bytes"] <= found["memory"]["limit_bytes"] == 256 * MEBI
    assert found["memory"]["resident_bytes"] > 5 * MEBI


def test_what_cannot_be_sent_is_named_with_its_error(bucket, mount, middle, mode):
    mounted = mount(bucket, mode=mode, endpoint=middle.endpoint)
    mounted.ask_what_is_asked_once()
    (mounted.path / "good").write_bytes(b"x")
    mounted.wait_for_uploads()
    assert status(mounted)["buckets"][0]["failed_files"] == 0
    # In write mode close the close fails, and so may the release of what is left.
    with contextlib.suppress(OSError), open(mounted.path / "lost", "wb", buffering=0) as file:
        file.write(b"y" * 12_345)
        middle.stop()
    found = eventually(
        lambda: (lambda found: found if found["buckets"][0]["failed_files"] else None)(
            json.loads(mounted.waysfs.run("status", "--json", mounted.path, check=False).stdout)["mounts"][0]
        ),
        "the failure shows",
        timeout=40,
    )
    (report,) = found["buckets"]
    (upload,) = report["uploads"]
    assert upload["path"] == "lost" and upload["size"] == 12_345 and upload["state"] in ("failed", "uploading")
    assert upload["failures"] >= 1 and upload["error"] and upload["age_seconds"] < 60
    assert report["pending_files"] == 1 and report["pending_bytes"] == 12_345
    errors = Counter()
    for request in report["requests"]:
        errors.update(request["errors"])
    assert errors["connectionFailed"] > 0
    assert os.getxattr(mounted.path / "lost", "user.waysfs.error").decode()
    assert os.getxattr(mounted.path / "lost", "user.waysfs.state") in (b"failed", b"uploading")

    human = mounted.waysfs.run("status", mounted.path, check=False)
    assert human.returncode == 3 and "lost" in human.stdout and "1 FAILED" in human.stdout
    listed = mounted.waysfs.run("status", check=False)
    assert listed.returncode == 3 and "1 file could not be uploaded" in listed.stdout
    # Somebody scrapes it all the same.
    text = mounted.waysfs.run("status", "--prometheus", mounted.path).stdout
    assert exposition.value(exposition.parse(text), "waysfs_failed_files") == 1

    middle.start()
    if mode == "close":
        with open(mounted.path / "lost", "r+b") as file:
            os.fsync(file.fileno())
    else:
        mounted.wait_for_uploads()
    (report,) = status(mounted)["buckets"]
    assert report["failed_files"] == 0 and report["uploads"] == []
    assert os.getxattr(mounted.path / "lost", "user.waysfs.state") == b"clean"
    with fails("ENODATA"):
        os.getxattr(mounted.path / "lost", "user.waysfs.error")
    assert bucket.get("lost") == b"y" * 12_345


def test_an_upload_under_way_shows_its_progress(bucket, mount, middle):
    mounted = mount(bucket, mode="writeback", endpoint=middle.endpoint)
    mounted.ask_what_is_asked_once()
    gate = threading.Event()

    def script(request, forward):
        if operation(request) == "CompleteMultipartUpload":
            gate.wait(30)
        return forward()

    middle.script = script
    try:
        (mounted.path / "large").write_bytes(os.urandom(20 * MEBI))
        (upload,) = eventually(
            lambda: [one for one in status(mounted)["buckets"][0]["uploads"] if one["sent_bytes"] == 20 * MEBI],
            "all parts are sent",
        )
        assert upload == {**upload, "path": "large", "state": "uploading", "size": 20 * MEBI, "failures": 0}
        assert os.getxattr(mounted.path / "large", "user.waysfs.state") == b"uploading"
    finally:
        gate.set()
    mounted.wait_for_uploads()
    assert status(mounted)["buckets"][0]["uploads"] == []


def test_metrics_pass_a_strict_parser_and_agree_with_the_json(bucket, mount, tmp_path):
    bucket.put("file", b"x" * MEBI)
    point = tmp_path / 'mount "quoted" \\ and\nbroken'
    mounted = mount(bucket, "--cache-limit", "32MiB", point=point)
    (mounted.path / "file").read_bytes()
    (mounted.path / "new").write_bytes(b"y")
    families = exposition.parse(mounted.waysfs.run("status", "--prometheus", mounted.path).stdout)
    found = status(mounted)
    assert exposition.value(families, "waysfs_up", mountpoint=str(point)) == 1
    for request in found["buckets"][0]["requests"]:
        labels = {"mountpoint": str(point), "bucket": bucket.name, "prefix": "", "operation": request["operation"]}
        assert exposition.value(families, "waysfs_requests_total", **labels) == request["requests"]
        assert exposition.value(families, "waysfs_request_duration_seconds_count", **labels) == request["requests"]
    assert exposition.value(families, "waysfs_memory_limit_bytes") == found["memory"]["limit_bytes"]
    assert exposition.value(families, "waysfs_disk_cache_limit_bytes") == 32 * MEBI
    started = exposition.value(families, "waysfs_start_time_seconds")
    assert abs(started - (time.time() - found["uptime_seconds"])) < 30
    # The list of all mounts parses as well, whatever else is mounted here.
    exposition.parse(mounted.waysfs.run("status", "--prometheus").stdout)


def test_no_secret_is_shown(bucket, mount):
    mounted = mount(bucket, "--log-level", "trace")
    (mounted.path / "file").write_bytes(b"x")
    secrets = [mounted.waysfs.environment[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    for options in (["--json"], ["--prometheus"], []):
        shown = mounted.waysfs.run("status", *options, mounted.path).stdout
        assert not any(secret in shown for secret in secrets)


def test_a_dead_mount_is_told_and_its_rest_is_cleaned_up(bucket, mount):
    mounted = mount(bucket)
    other = mount(bucket)
    socket_path = control_socket(mounted)
    assert socket_path.exists()
    mounted.kill()
    found = status(mounted, code=3)
    assert found["state"] == "dead" and "waysfs umount" in found["problem"] and "version" not in found
    listed = mounted.waysfs.run("status", check=False)
    assert listed.returncode == 3
    lines = listed.stdout.splitlines()
    assert any(str(mounted.path) in line and " dead " in line for line in lines)
    assert any(str(other.path) in line and " serving " in line for line in lines)
    text = mounted.waysfs.run("status", "--prometheus", mounted.path).stdout
    assert exposition.value(exposition.parse(text), "waysfs_up") == 0
    # Taken away past us: what the process left behind goes with the next look.
    subprocess.run(["umount", "-l", mounted.path], check=True)
    assert socket_path.exists()
    shown = mounted.waysfs.run("status", check=False).stdout
    assert str(mounted.path) not in [line.split("  ")[0] for line in shown.splitlines()]
    assert not socket_path.exists()
    gone = mounted.waysfs.run("status", mounted.path, check=False)
    assert gone.returncode == 1 and "nothing is mounted there" in gone.stderr


def control_socket(mounted):
    """The socket of a mount: the one that its process listens on."""
    inodes = set()
    for link in Path(f"/proc/{mounted.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and len(fields) > 7 and fields[7].endswith(".socket"):
            return Path(fields[7])
    raise AssertionError("the mount has no control socket")


def test_the_socket_is_for_its_user_and_goes_with_the_mount(bucket, mount):
    mounted = mount(bucket)
    path = control_socket(mounted)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o022 == 0
    # A client that says nothing, and one that talks nonsense, are in nobody's way.
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as loud:
        silent.connect(str(path))
        loud.connect(str(path))
        loud.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert loud.recv(200).startswith(b"waysfs-control 1 error ")
        assert status(mounted)["state"] == "serving"
        (mounted.path / "file").write_bytes(b"x")
    mounted.unmount()
    assert not path.exists()


def test_a_process_that_does_not_answer_is_silent(bucket, mount):
    mounted = mount(bucket)
    os.kill(mounted.pid, signal.SIGSTOP)
    try:
        found = status(mounted, code=3)
        assert found["state"] == "silent" and "does not answer" in found["problem"]
    finally:
        os.kill(mounted.pid, signal.SIGCONT)
    assert status(mounted)["state"] == "serving"


def test_an_unmounted_process_that_finishes_its_uploads_shows(bucket, mount, middle):
    mounted = mount(bucket, mode="writeback", endpoint=middle.endpoint)
    mounted.ask_what_is_asked_once()
    gate = threading.Event()
    middle.script = lambda request, forward: (request.method == "PUT" and gate.wait(30), forward())[1]
    try:
        (mounted.path / "file").write_bytes(b"x")
        mounted.waysfs.run("umount", "--lazy", mounted.path)
        found = eventually(
            lambda: (lambda found: found if found["state"] == "finishing" else None)(status(mounted)),
            "the mount is gone, its process is not",
        )
        assert found["is_finishing"] and found["buckets"][0]["pending_files"] == 1
    finally:
        gate.set()
    mounted.may_be_dead = True
    wait_until_ended(mounted.pid)
    assert bucket.get("file") == b"x"


def test_nothing_is_wrong_while_it_starts_and_ends(bucket, mount, middle):
    """Whoever watches it hears of no trouble at any moment of an orderly life."""
    gate = threading.Event()
    middle.script = lambda request, forward: (gate.wait(30), forward())[1]
    mounted = mount(bucket, endpoint=middle.endpoint, start=False)
    process = mounted.waysfs.start(*mounted.arguments("--foreground"))
    try:
        eventually(lambda: middle.requests, "it connects")
        found = status(mounted)
        assert found["state"] == "starting" and found["activity"] == f"connecting to {middle.endpoint}"
        assert "buckets" not in found and "problem" not in found
        families = exposition.parse(mounted.waysfs.run("status", "--prometheus", mounted.path).stdout)
        assert exposition.value(families, "waysfs_up") == 1
        assert exposition.value(families, "waysfs_state", state="starting") == 1
        assert exposition.value(families, "waysfs_state", state="serving") == 0
        # The machine may have other mounts, which are not for this test to judge.
        shown = mounted.waysfs.run("status", check=False).stdout
        assert any(line.startswith(f"{mounted.path} ") and " starting " in line for line in shown.splitlines())
    finally:
        gate.set()
    states = []

    def look():
        result = mounted.waysfs.run("status", "--json", mounted.path, check=False)
        if result.returncode == 1 and "nothing is mounted there" in result.stderr:
            return True
        (found,) = json.loads(result.stdout)["mounts"]
        states.append((found["state"], result.returncode))
        if found["state"] == "serving" and process.poll() is None:
            process.terminate()
        return False

    try:
        eventually(look, "it has ended", timeout=60)
    finally:
        process.kill()
        process.wait()
    assert ("serving", 0) in states and set(states) <= {("starting", 0), ("serving", 0), ("finishing", 0)}


def test_the_log_level_changes_live(bucket, mount):
    mounted = mount(bucket)
    assert mounted.waysfs.run("log-level", mounted.path).stdout == "info\n"
    mounted.waysfs.run("log-level", mounted.path, "debug")
    assert mounted.waysfs.run("log-level", mounted.path).stdout == "debug\n"
    assert status(mounted)["log_level"] == "debug"
    with fails("ENOENT"):
        os.stat(mounted.path / "not-there")
    (mounted.path / "link").symlink_to("x")
    mounted.waysfs.run("log-level", mounted.path, "error")
    assert "the log level was changed level=debug" in mounted.log_text()
    wrong = mounted.waysfs.run("log-level", mounted.path, "loud", check=False)
    assert wrong.returncode == 64 and "loud" in wrong.stderr
    nowhere = mounted.waysfs.run("log-level", mounted.path.parent, check=False)
    assert nowhere.returncode == 1 and "nothing is mounted" in nowhere.stderr


def test_watch_redraws_on_a_terminal_only(bucket, mount):
    mounted = mount(bucket)
    refused = mounted.waysfs.run("status", "--watch", mounted.path, check=False)
    assert refused.returncode == 64 and "terminal" in refused.stderr
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            mounted.waysfs.binary, ["waysfs", "status", "--watch", str(mounted.path)], mounted.waysfs.environment
        )
    shown = b""
    try:

        def read():
            nonlocal shown
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65_536)
            return shown.count(b"\x1b[H") >= 2 and shown.count(b"serving") >= 2

        eventually(read, "it is drawn twice")
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        os.close(terminal)


# MARK: Extended attributes


def attribute(path, name):
    return os.getxattr(path, f"user.waysfs.{name}").decode()


def test_attributes_of_a_file(bucket, mount):
    bucket.put("file", b"content")
    mounted = mount(bucket)
    path = mounted.path / "file"
    assert attribute(path, "state") == "clean"
    assert attribute(path, "etag") == bucket.head("file")["ETag"].strip('"')
    assert attribute(path, "storage_class")
    assert attribute(path, "cached") == "0"
    path.read_bytes()
    assert attribute(path, "cached") == "7"
    with open(path, "r+b", buffering=0) as file:
        file.write(b"C")
        assert attribute(path, "state") == "dirty"
    assert attribute(path, "state") == "clean"
    assert attribute(path, "etag") == bucket.head("file")["ETag"].strip('"')
    for name in ("error", "nonsense"):
        with fails("ENODATA"):
            attribute(path, name)
    with fails("EOPNOTSUPP"):
        os.setxattr(path, "user.waysfs.state", b"clean")
    with fails("EOPNOTSUPP"):
        os.getxattr(path, "user.other")


def test_attributes_are_in_nobodys_way(bucket, mount, local, middle):
    """They are not listed, so that tools that copy attributes neither copy these nor fail at setting them."""
    mounted = mount(bucket, endpoint=middle.endpoint)
    (mounted.path / "file").write_bytes(b"x")
    with fails("EOPNOTSUPP"):
        os.listxattr(mounted.path / "file")
    subprocess.run(["cp", "-a", mounted.path / "file", local / "file"], check=True)
    assert os.listxattr(local / "file") == []
    subprocess.run(["cp", "-a", local / "file", mounted.path / "back"], check=True)
    subprocess.run(["rsync", "-aXO", f"{local}/", mounted.path / "synced"], check=True)
    assert (mounted.path / "synced" / "file").read_bytes() == b"x"
    # What is known asks nobody.
    attribute(mounted.path / "file", "state")
    before = len(middle.requests)
    for name in ("state", "etag", "cached"):
        attribute(mounted.path / "file", name)
    assert len(middle.requests) == before


def test_attributes_of_a_conflict(bucket, mount):
    bucket.put("file", b"first")
    mounted = mount(bucket)
    with fails("ESTALE"), open(mounted.path / "file", "r+b", buffering=0) as file:
        file.truncate(0)
        file.write(b"ours")
        bucket.put("file", b"theirs")
    (conflict,) = bucket.keys("file (")
    assert attribute(mounted.path / conflict, "state") == "conflict"
    assert "both versions" in attribute(mounted.path / conflict, "error")
    assert attribute(mounted.path / "file", "state") == "clean"


def test_a_write_by_somebody_else_clears_the_set_user_id_bit(bucket, mount):
    need_root("write as somebody else")
    mounted = mount(bucket, "--allow-other", "-o", "suid")
    path = mounted.path / "program"
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o4777)
    assert path.stat().st_mode & 0o7777 == 0o4777
    # Opened as root, since the directories above the mount are private; who writes counts.
    script = "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY); os.setuid(65534); os.write(f, b'x'); os.close(f)"
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert path.stat().st_mode & 0o7777 == 0o777
    assert int(bucket.head("program")["Metadata"]["mode"]) & 0o7777 == 0o777


def test_a_bit_that_is_set_on_a_mapped_file_stays(bucket, mount):
    """The kernel writes the pages back when it sees fit, here after the chmod."""
    mounted = mount(bucket)
    path = mounted.path / "program"
    path.write_bytes(b"x" * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as pages:
        pages[0:1] = b"y"
        os.fchmod(file.fileno(), 0o4755)
    assert path.stat().st_mode & 0o7777 == 0o4755
    assert int(bucket.head("program")["Metadata"]["mode"]) & 0o7777 == 0o4755
    assert bucket.get("program") == b"y" + b"x" * 4095
