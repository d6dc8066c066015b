"""An account with nothing but its API key: where key pairs come from, and what happens when they change."""

import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.commands import eventually
from support.errors import outcome
from support.faults import HELD
from support.patterns import MIB, pattern
from support.processes import is_mounted
from support.proxy import Answer, RawServer
from support.servers import REGION
from support.tls import TLSFront


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("mode", ["close", "writeback"])
def test_rotation_in_the_middle_of_an_upload(sandbox, account_mount, mode):
    first = account_mount(sandbox.first, "--write-mode", mode)
    second = account_mount(sandbox.second, "--write-mode", mode)
    content = pattern(256 * MIB, mode)
    with open(first / "large", "wb", buffering=0) as file:
        for start in range(0, len(content), 4 * MIB):
            file.write(content[start : start + 4 * MIB])
            if start in (64 * MIB, 192 * MIB):
                sandbox.rotate()
    # In write-back mode the upload may just have begun.
    sandbox.rotate()
    (second / "small").write_bytes(b"in the other bucket")
    for directory in (first, second):
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    stored = sandbox.s3.get_object(Bucket=sandbox.first, Key="large")["Body"].read()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(content).digest()
    assert (second / "small").read_bytes() == b"in the other bucket"
    assert sandbox.s3.get_object(Bucket=sandbox.second, Key="small")["Body"].read() == b"in the other bucket"


@pytest.mark.time_limit(120)
def test_rotation_in_the_middle_of_a_walk(sandbox, account_mount):
    expected = {f"d{number % 20}/e{number % 3}/f{number}" for number in range(120)}
    for name in expected:
        sandbox.s3.put_object(Bucket=sandbox.first, Key=name, Body=name.encode())
    root = account_mount(sandbox.first, "--metadata-ttl", "0")

    def fail(error):
        raise error

    for rotations in range(2):
        found = set()
        for number, (directory, _, names) in enumerate(os.walk(root, onerror=fail)):
            if number == 10:
                sandbox.rotate()
            for name in names:
                path = os.path.join(directory, name)
                relative = os.path.relpath(path, root)
                with open(path, "rb") as file:
                    assert file.read() == relative.encode()
                found.add(relative)
        assert found == expected


@pytest.mark.time_limit(120)
def test_many_readers_and_writers_while_pairs_change(sandbox, account_mount):
    root = account_mount(sandbox.first, "--metadata-ttl", "0")
    errors = []
    stop = threading.Event()

    def work(worker):
        try:
            number = 0
            while not stop.is_set():
                path = root / f"w{worker}-{number % 5}"
                path.write_bytes(f"{worker} {number}".encode() * 1000)
                assert path.read_bytes() == f"{worker} {number}".encode() * 1000
                os.listdir(root)
                number += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            sandbox.rotate()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.time_limit(120)
def test_the_control_plane_goes_away(sandbox, account_mount, proxy):
    """What is mounted goes on working; and when the pair changes meanwhile, as soon as it is back."""
    control = proxy()
    control.target = urlsplit(sandbox.api_url)
    root = account_mount(sandbox.first, environment={**sandbox.environment, "WAYSCLOUD_API_URL": control.endpoint})
    asked = len(control.requests)
    control.stop()
    for number in range(50):
        (root / f"f{number}").write_bytes(b"x" * number)
    assert sorted(os.listdir(root)) == sorted(f"f{number}" for number in range(50))
    assert (root / "f7").read_bytes() == b"x" * 7
    assert len(control.requests) == asked
    sandbox.rotate()
    with pytest.raises(OSError):
        (root / "lost?").write_bytes(b"kept")
    control.start()
    eventually(lambda: outcome((root / "after").write_bytes, b"again") == "done", "there is a new pair")
    descriptor = os.open(root, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    assert sandbox.s3.get_object(Bucket=sandbox.first, Key="after")["Body"].read() == b"again"
    assert sandbox.s3.get_object(Bucket=sandbox.first, Key="lost?")["Body"].read() == b"kept"


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("whole", [False, True], ids=["buckets", "account"])
def test_the_control_plane_is_away_for_a_minute(whole, sandbox, account_mount, proxy):
    """Half of it nobody is there, and half of it nobody answers: mounted buckets go on working."""
    control = proxy()
    control.target = urlsplit(sandbox.api_url)
    environment = {**sandbox.environment, "WAYSCLOUD_API_URL": control.endpoint}
    names = [sandbox.first, sandbox.second]
    if whole:
        root = account_mount("--all", environment=environment)
        buckets = [root / name for name in names]
    else:
        buckets = [account_mount(name, environment=environment) for name in names]
    over = threading.Event()
    number = 0

    def work(seconds):
        nonlocal number
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number += 1
            for bucket in buckets:
                path = bucket / f"f{number % 50}"
                path.write_bytes(b"%d" % number)
                assert path.read_bytes() == b"%d" % number
                assert path.name in os.listdir(bucket)
            assert not whole or set(names) <= set(os.listdir(root))

    try:
        control.stop()
        work(30)
        control.script = lambda request, forward: over.wait(HELD) and None
        control.start()
        work(30)
    finally:
        over.set()
    for name in names:
        stored = sandbox.s3.get_object(Bucket=name, Key=f"f{number % 50}")["Body"].read()
        assert stored == b"%d" % number


def test_what_is_forbidden_does_not_flood_the_control_plane(sandbox, account_mount, proxy):
    control, storage = proxy(), proxy()
    control.target, storage.target = urlsplit(sandbox.api_url), urlsplit(sandbox.endpoint)
    for number in range(40):
        sandbox.s3.put_object(Bucket=sandbox.first, Key=f"no{number}", Body=b"secret")
    storage.script = lambda request, forward: (
        Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>") if request.key.startswith("no") else forward()
    )
    environment = {**sandbox.environment, "WAYSCLOUD_API_URL": control.endpoint}
    root = account_mount(sandbox.first, "--endpoint", storage.endpoint, "--region", REGION, environment=environment)
    asked = len(control.requests)
    assert len(os.listdir(root)) == 40
    for number in range(40):
        with pytest.raises(PermissionError):
            (root / f"no{number}").read_bytes()
    assert len([request for request in storage.requests if request.key.startswith("no")]) >= 40
    # After 1, 3, 7, 15... seconds it is asked again.
    assert 1 <= len(control.requests) - asked <= 10


# MARK: Where secrets come from


def test_an_api_key_from_files(sandbox, waysfs, account_mount, tmp_path):
    key = tmp_path / "api-key"
    key.write_text(sandbox.api_key + "\n")
    key.chmod(0o600)
    environment = {**sandbox.environment, "WAYSCLOUD_API_KEY": ""}
    root = account_mount(sandbox.first, "--api-key-file", str(key), environment=environment)
    (root / "file").write_bytes(b"x")
    waysfs.run("umount", root)
    root.rmdir()

    # systemd hands files over that it protects by their directory.
    handed = tmp_path / "credentials"
    handed.mkdir(mode=0o700)
    (handed / "wayscloud-api-key").write_text(sandbox.api_key)
    (handed / "wayscloud-api-key").chmod(0o444)
    root = account_mount(sandbox.first, environment={**environment, "CREDENTIALS_DIRECTORY": str(handed)})
    assert (root / "file").read_bytes() == b"x"
    waysfs.run("umount", root)
    root.rmdir()

    config = tmp_path / "home" / ".config" / "waysfs"
    config.mkdir(parents=True)
    (config / "config").write_text(f"[default]\nuid = 7\n[work]\napi-key-file = {key}\n")
    environment["HOME"] = str(tmp_path / "home")
    sandbox.s3.put_object(Bucket=sandbox.first, Key="of-nobody", Body=b"")
    root = account_mount(sandbox.first, "--profile", "work", environment=environment)
    assert os.stat(root / "of-nobody").st_uid == 7


@pytest.mark.parametrize("option", ["--api-key-file", "--credentials-file"])
def test_a_secret_that_others_may_read_is_refused(option, sandbox, waysfs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"[default]\naws_access_key_id = A\naws_secret_access_key = {sandbox.api_key}\n")
    secret.chmod(0o644)
    point = tmp_path / "mount"
    point.mkdir()
    environment = {**sandbox.environment, "WAYSCLOUD_API_KEY": ""}
    result = waysfs.run("mount", sandbox.first, point, option, secret, environment=environment, check=False)
    assert result.returncode == 1 and not is_mounted(point)
    assert "everybody may read" in result.stderr and f"chmod 600 {secret}" in result.stderr
    assert sandbox.api_key not in result.stderr


def everything_below(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                yield os.path.join(folder, name), file.read()


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("whole", [False, True], ids=["bucket", "account"])
def test_secrets_show_nowhere(whole, sandbox, waysfs, account_mount, tmp_path):
    """Not in arguments, logs at the most talkative level, messages, or what is kept on disk."""
    shown = []
    mounted = account_mount("--all" if whole else sandbox.first, "--write-mode", "writeback")
    root = mounted / sandbox.first if whole else mounted
    if whole:
        for bucket in mounted.iterdir():
            shown += [(f"{bucket} {name}", os.getxattr(bucket, name)) for name in os.listxattr(bucket)]
        with pytest.raises(OSError):
            (mounted / "not a name").mkdir()
    (root / "file").write_bytes(b"x" * MIB)
    with open(root / "open", "wb") as file:
        file.write(b"y" * MIB)
        file.flush()
        sandbox.rotate()
        os.fsync(file.fileno())
        shown += [(path, content) for path, content in everything_below(tmp_path / "cache")]
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as arguments, open(f"/proc/{entry}/status", "rb") as status:
                    shown.append((f"/proc/{entry}", arguments.read() + status.read()))
            except OSError:
                continue
        shown.append(("/proc/self/mountinfo", open("/proc/self/mountinfo", "rb").read()))
    assert len(shown) > 3
    commands = [
        ("flush", mounted), ("recover", "--cache-dir", tmp_path / "cache"), ("config",), ("config", "--json"),
        ("mount", "no-such-bucket", tmp_path), ("mount", sandbox.first, tmp_path / "missing"),
        ("config", "--umask", "x"), ("mount", "--all", tmp_path / "missing"), ("status",), ("status", mounted),
        ("status", "--json"), ("status", "--prometheus"), ("log-level", mounted), ("doctor", sandbox.first),
        ("buckets", "list"), ("buckets", "info", sandbox.first), ("buckets", "guide"), ("credentials",),
    ]  # fmt: skip
    environments = [
        sandbox.environment,
        {**sandbox.environment, "WAYSCLOUD_API_KEY": sandbox.api_key + "!"},
        {**sandbox.environment, "WAYSCLOUD_API_KEY": sandbox.api_key + " two"},
        {**sandbox.environment, "AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": sandbox.pairs[-1][1]},
        {**sandbox.environment, "AWS_SECRET_ACCESS_KEY": sandbox.pairs[-1][1]},
    ]
    for environment in environments:
        for command in commands:
            result = waysfs.run(*command, environment=environment, check=False)
            shown.append((str(command), (result.stdout + result.stderr).encode()))
    waysfs.run("umount", mounted)
    shown.append(("log", (tmp_path / "log").read_bytes()))
    assert b"waysfs" in shown[-1][1] or b"mounted" in shown[-1][1]
    for place, content in shown:
        for secret in sandbox.secrets():
            assert secret.encode() not in content, place


def test_nobody_may_look_into_the_process(sandbox, waysfs, tmp_path):
    """The files in /proc of a process that may not be dumped are root's, whoever runs it."""
    assert os.geteuid() == 0, "this test needs root, to run the command as another user"
    silent = RawServer(b"")
    binary = os.open(waysfs.binary, os.O_RDONLY)
    try:
        # Through the descriptor: the user may not be let into the directories above the program.
        process = subprocess.Popen(
            ["waysfs", "buckets", "list", "--api-url", silent.endpoint],
            executable=f"/proc/self/fd/{binary}",
            pass_fds=[binary],
            env={"WAYSCLOUD_API_KEY": sandbox.api_key},
            user=65534,
            group=65534,
            extra_groups=[],
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: os.stat(f"/proc/{process.pid}/environ").st_uid == 0, "its environment is root's")
            assert f"\nUid:\t65534\t" in Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(binary)
        silent.stop()


def test_an_authority_of_ones_own(sandbox, waysfs, account_mount, tmp_path):
    """One file of certificates for the storage server and the control plane."""
    (tmp_path / "storage").mkdir()
    (tmp_path / "control").mkdir()
    storage = TLSFront(sandbox.endpoint, tmp_path / "storage")
    control = TLSFront(sandbox.api_url, tmp_path / "control")
    environment = {**sandbox.environment, "WAYSCLOUD_API_URL": control.endpoint}
    try:
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(storage.authority.read_text() + control.authority.read_text())
        options = ["--endpoint", storage.endpoint, "--region", REGION]
        root = account_mount(sandbox.first, "--ca-file", trusted, *options, environment=environment)
        (root / "file").write_bytes(b"over TLS")
        assert sandbox.s3.get_object(Bucket=sandbox.first, Key="file")["Body"].read() == b"over TLS"
        assert sandbox.first in waysfs.run("buckets", "list", "--ca-file", trusted, environment=environment).stdout

        for authority in ([], ["--ca-file", storage.authority]):
            refused = waysfs.run("buckets", "list", *authority, environment=environment, check=False)
            assert refused.returncode == 1 and "certificate" in refused.stderr and "--ca-file" in refused.stderr
        point = tmp_path / "point"
        point.mkdir()
        only = ["--ca-file", control.authority, *options]
        refused = waysfs.run("mount", sandbox.first, point, *only, environment=environment, check=False)
        assert refused.returncode == 1 and "certificate" in refused.stderr and not is_mounted(point)
    finally:
        # Mounts end behind this, and what they still ask for is refused at once.
        waysfs.run("umount", tmp_path / f"mount-{sandbox.first}", check=False)
        storage.stop()
        control.stop()
