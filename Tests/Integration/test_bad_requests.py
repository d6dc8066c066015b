"""What cannot be mounted: one clear line, a non-zero exit status, nothing mounted, nothing left running."""

import os

import pytest
from support.commands import run
from support.processes import daemons, is_mounted
from support.proxy import Answer, RawServer, unused_endpoint


@pytest.fixture
def refused(waysfs):
    """Asserts that a mount is refused with these words on one line."""

    def check(mount, *words, environment=None, status=1):
        result = waysfs.run(*mount.arguments(), check=False, environment=environment)
        assert result.returncode == status, result.stderr
        assert result.stdout == ""
        assert result.stderr.startswith("waysfs: ") and result.stderr.count("\n") == 1, result.stderr
        for word in words:
            assert word in result.stderr, f"'{word}' is not in: {result.stderr}"
        assert not is_mounted(mount.path)
        assert daemons(waysfs.binary, mount.path) == {}
        return result.stderr

    return check


@pytest.mark.parametrize("server", ["seaweedfs", "moto", "rclone"])
def test_no_such_bucket(server, new_bucket, mount, refused):
    bucket = new_bucket(server)
    made = mount(f"{bucket.name}-absent", endpoint=bucket.server.endpoint, start=False)
    refused(made, "no bucket", f"{bucket.name}-absent", bucket.server.endpoint)


@pytest.mark.parametrize("server", ["seaweedfs", "rclone"])
def test_wrong_secret(server, new_bucket, mount, refused):
    made = mount(new_bucket(server), start=False)
    line = refused(made, "AWS_SECRET_ACCESS_KEY", environment={"AWS_SECRET_ACCESS_KEY": "wrong-secret-000000"})
    assert "wrong-secret" not in line


@pytest.mark.parametrize("server", ["seaweedfs", "rclone"])
def test_unknown_access_key(server, new_bucket, mount, refused):
    made = mount(new_bucket(server), start=False)
    refused(made, "AWS_ACCESS_KEY_ID", environment={"AWS_ACCESS_KEY_ID": "AKUNKNOWN0000"})


def test_no_credentials(bucket, mount, refused):
    made = mount(bucket, start=False)
    empty = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    refused(made, "AWS_ACCESS_KEY_ID", environment=empty)


def test_nobody_listens(mount, refused):
    endpoint = unused_endpoint()
    refused(mount("bucket", endpoint=endpoint, start=False), endpoint, "cannot be reached")


def test_no_such_host(mount, refused):
    refused(mount("bucket", endpoint="http://no-such-host.invalid:8333", start=False), "no-such-host.invalid")


def test_a_server_that_says_nothing(mount, refused):
    server = RawServer(b"")
    try:
        refused(mount("bucket", "--mount-timeout", "3s", endpoint=server.endpoint, start=False), "answer")
    finally:
        server.stop()


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        bytes(range(256)) * 100,
        b"HTTP/1.1 999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
    ],
    ids=["ssh", "binary", "status", "cut"],
)
def test_a_server_that_does_not_speak_http(garbage, mount, refused):
    server = RawServer(garbage)
    try:
        refused(mount("bucket", endpoint=server.endpoint, start=False), server.endpoint)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "status, word", [(200, "--endpoint"), (302, "--region"), (404, "--endpoint"), (500, "Try again later")]
)
def test_a_web_server_that_is_no_s3_server(status, word, mount, refused, proxy):
    server = proxy()
    server.script = lambda request, forward: Answer(status, [("Location", "/login")], b"<html>Please log in</html>")
    refused(mount("bucket", endpoint=server.endpoint, start=False), word)


def test_https_where_http_is_spoken(bucket, mount, refused):
    endpoint = bucket.server.endpoint.replace("http:", "https:")
    refused(mount(bucket, endpoint=endpoint, start=False), endpoint)


# MARK: The mount point


def test_a_mount_point_that_is_not_there(bucket, mount, refused):
    made = mount(bucket, start=False)
    made.path.rmdir()
    refused(made, str(made.path), "mkdir -p")


def test_a_mount_point_that_is_a_file(bucket, mount, refused):
    made = mount(bucket, start=False)
    made.path.rmdir()
    made.path.touch()
    refused(made, str(made.path), "not a directory")


def test_a_mount_point_that_is_not_empty(bucket, mount, refused, waysfs):
    made = mount(bucket, start=False)
    (made.path / "file").write_text("x")
    refused(made, str(made.path), "not empty", "nonempty")
    assert (made.path / "file").read_text() == "x"
    waysfs.run(*made.arguments("-o", "nonempty"))
    assert os.listdir(made.path) == []
    waysfs.run("umount", made.path)
    assert (made.path / "file").read_text() == "x"


def test_a_mount_point_that_is_in_use(bucket, mount, waysfs):
    made = mount(bucket)
    result = waysfs.run(*made.arguments(), check=False)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "a bucket is mounted there" in result.stderr and "waysfs umount" in result.stderr
    assert os.listdir(made.path) == []


def test_without_dev_fuse(bucket, mount, waysfs):
    """In a mount namespace whose /dev has no fuse."""
    made = mount(bucket, start=False)
    devices = made.path.parent / "dev"
    devices.mkdir()
    script = """
        set -e
        mount -t tmpfs none "$1"; touch "$1/null"; mount --bind /dev/null "$1/null"; mount --rbind "$1" /dev
        shift; exec "$@"
    """
    namespace = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    result = run(
        *(*namespace, "sh", "-c", script, "sh", devices, waysfs.binary, *made.arguments()),
        check=False,
        env=waysfs.environment,
    )
    assert result.returncode == 1, result.stderr
    assert "/dev/fuse is missing" in result.stderr and "modprobe fuse" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not is_mounted(made.path)


# MARK: Other settings


def test_a_cache_directory_that_cannot_be_made(bucket, mount, refused, tmp_path):
    (tmp_path / "file").touch()
    refused(mount(bucket, start=False, cache=tmp_path / "file" / "cache"), "--cache-dir")


def test_a_cache_directory_in_the_mount(bucket, mount, refused):
    made = mount(bucket, start=False)
    made.options[made.options.index("--cache-dir") + 1] = str(made.path / "cache")
    refused(made, "cache directory", "mount point")


@pytest.mark.parametrize(
    "options, word",
    [
        (["--metadata-ttl", "soon"], "--metadata-ttl"),
        (["--connections", "0"], "--connections"),
        (["--umask", "999"], "--umask"),
        (["--log-level", "loud"], "--log-level"),
        (["-o", "no-such-option=1"], "no-such-option"),
        (["--endpoint", "ftp://host"], "--endpoint"),
    ],
)
def test_an_option_that_makes_no_sense(options, word, bucket, mount, refused):
    refused(mount(bucket, *options, start=False), word, status=64)


@pytest.mark.parametrize("name", ["Bad_Name", "a", "x" * 64, "with/slash", "", ":prefix"])
def test_a_bucket_name_that_cannot_be(name, bucket, mount, refused):
    made = mount(name, endpoint=bucket.server.endpoint, start=False)
    result = made.waysfs.run(*made.arguments(), check=False)
    assert result.returncode != 0 and result.stderr.count("\n") == 1, result.stderr
    assert not is_mounted(made.path)


def test_the_foreground_says_the_same(mount, waysfs):
    endpoint = unused_endpoint()
    made = mount("bucket", endpoint=endpoint, start=False)
    result = waysfs.run(*made.arguments("--foreground"), check=False)
    assert result.returncode == 1 and "cannot be reached" in result.stderr


def test_secrets_do_not_show(bucket, mount):
    """Neither in the list of processes nor in the log."""
    made = mount(bucket, "--log-level", "trace")
    (made.path / "file").write_text("x")
    secret = made.waysfs.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in run("ps", "-o", "args", "-p", str(made.pid)).stdout
    assert secret not in made.log_text() and len(made.log_text()) > 0
