"""Fixtures: servers, buckets and mounts, and the promise that a test leaves nothing behind."""

import contextlib
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.commands import eventually, run
from support.limits import time_limit
from support.mounts import ForegroundMount, Mount, Waysfs
from support.processes import daemons, is_mounted, kill_all, mount_points
from support.proxy import Proxy
from support.sandbox import Sandbox
from support.servers import REGION, Bucket, Server

DEFAULT_TIME_LIMIT = 60
# So many times as long is waited before a test counts as hanging: others may want the processors, too.
BUSY = 4
SERVERS = ["seaweedfs", "moto", "rclone"]
MODES = ["close", "writeback"]
MOUNTS = pytest.StashKey[list]()


def pytest_configure(config):
    # A shell starts what it puts into the background with SIGINT ignored, and programs started here would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", f"time_limit(seconds): how long it may take on an idle machine; {DEFAULT_TIME_LIMIT} else"
    )


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory):
    """Everything that is mounted lies below it."""
    return tmp_path_factory.getbasetemp().resolve()


@pytest.fixture(scope="session")
def waysfs(session_directory):
    return Waysfs(session_directory / "home")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(session_directory, waysfs):
    """At the end of the run nothing is mounted and no process of a mount lives."""
    assert Path("/dev/fuse").exists(), "/dev/fuse is missing, and these tests mount"
    yield
    points = mount_points(session_directory)
    for point in points:
        run("umount", "-l", point, check=False)
    # The last ones may be ending.
    with contextlib.suppress(AssertionError):
        eventually(lambda: not daemons(waysfs.binary, session_directory), "all processes end")
    processes = kill_all(waysfs.binary, session_directory)
    assert not points, f"left mounted: {points}"
    assert not processes, f"left running: {processes}"


# MARK: Servers and buckets


@pytest.fixture(scope="session")
def clients():
    """One boto3 client for each server; making one is slow."""
    return {}


@pytest.fixture
def new_bucket(clients):
    """Makes buckets that go with the test: `new_bucket("moto")`."""
    made = []

    def make(server="seaweedfs"):
        server = Server.named(server)
        if server.name not in clients:
            clients[server.name] = server.client()
        made.append(Bucket(server, clients[server.name]))
        return made[-1]

    yield make
    for bucket in made:
        bucket.remove()


@pytest.fixture
def bucket(new_bucket):
    """A bucket on SeaweedFS, the server most tests use."""
    return new_bucket()


@pytest.fixture
def proxy():
    """A server that follows a script: `proxy(bucket.server)` forwards to a real one, `proxy()` only does the script."""
    made = []

    def make(server=None):
        made.append(Proxy(server and server.endpoint))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    errors = [error for one in made for error in one.errors]
    assert not errors, f"in the script of a server: {errors}"


# MARK: Mounts


@pytest.fixture(params=MODES)
def mode(request):
    """The write mode, for what must hold in both: `mount(bucket, mode=mode)`."""
    return request.param


@pytest.fixture
def mount(request, waysfs, tmp_path, new_bucket, proxy):
    """Mounts buckets: `mount(bucket, "--read-only", prefix="docs")` returns a `Mount`.

    `start=False` leaves the start to the test; `endpoint` is for a server that the test brings along.
    (`new_bucket` is named so that a bucket goes after its mounts, which may be trying the server to the end.)
    """
    mounts = request.node.stash.setdefault(MOUNTS, [])

    def make(
        bucket,
        *options,
        mode=None,
        prefix=None,
        endpoint=None,
        foreground=False,
        start=True,
        cache=None,
        point=None,
    ):
        name = bucket if isinstance(bucket, str) else bucket.name
        source = name if prefix is None else f"{name}:{prefix}"
        directory = tmp_path / f"waysfs{len(mounts) or ''}"
        directory.mkdir()
        kind = ForegroundMount if foreground else Mount
        if mode is not None:
            options = ("--write-mode", mode, *options)
        made = kind(waysfs, source, endpoint or bucket.server.endpoint, directory, options, point)
        made.mode = mode
        if cache is not None:
            made.options[made.options.index("--cache-dir") + 1] = str(cache)
            made.cache = cache
        mounts.append(made)
        return made.start() if start else made

    yield make
    problems = [problem for made in reversed(mounts) for problem in made.take_away()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def mounted(bucket, mount):
    """The directory of a mount of `bucket`."""
    return mount(bucket).path


@pytest.fixture
def local(tmp_path):
    """A directory on a local disk, to compare with."""
    path = tmp_path / "local"
    path.mkdir()
    return path


# MARK: Accounts


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory):
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()


@pytest.fixture
def sandbox(shared_sandbox):
    """A sandbox with two buckets that no other test uses; its keys may change in every test."""
    shared_sandbox.make_buckets()
    return shared_sandbox


@pytest.fixture
def account_mount(sandbox, waysfs, tmp_path):
    """Mounts buckets of the sandbox, or with "--all" in place of a name all of them: `account_mount(name)` returns the
    directory. Files are in `tmp_path`."""
    mounted = []

    def make(bucket, *options, environment=None):
        point = tmp_path / f"mount-{bucket.strip('-')}"
        point.mkdir()
        files = ["--cache-dir", str(tmp_path / "cache"), "--log-file", str(tmp_path / "log"), "--log-level", "trace"]
        waysfs.run("mount", bucket, point, *files, *options, environment=environment or sandbox.environment)
        mounted.append(point)
        return point

    yield make
    results = [waysfs.run("umount", point, check=False) for point in mounted if is_mounted(point)]
    assert all(result.returncode == 0 for result in results), results


@pytest.fixture
def storage(sandbox, proxy):
    """A server before that of the sandbox, for a test to disturb; `options` lead a mount to it."""
    made = proxy()
    made.target = urlsplit(sandbox.endpoint)
    made.options = ("--endpoint", made.endpoint, "--region", REGION)
    return made


@pytest.fixture
def control(sandbox, proxy):
    """The same before the control plane; `environment` leads a mount to it."""
    made = proxy()
    made.target = urlsplit(sandbox.api_url)
    made.environment = {**sandbox.environment, "WAYSCLOUD_API_URL": made.endpoint}
    return made


# MARK: Limits and reports


def _limited(item, seconds):
    waysfs, directory = item.funcargs.get("waysfs"), item.funcargs.get("session_directory")
    if waysfs is None or directory is None:
        request = item._request
        waysfs, directory = request.getfixturevalue("waysfs"), request.getfixturevalue("session_directory")
    return time_limit(seconds, waysfs.binary, directory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("time_limit")
    with _limited(item, BUSY * (marker.args[0] if marker else DEFAULT_TIME_LIMIT)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its mounts logged."""
    report = yield
    if report.failed:
        for made in item.stash.get(MOUNTS, []):
            report.sections.append((f"log of the mount of {made.source}", made.log_text()[-8000:]))
    return report
