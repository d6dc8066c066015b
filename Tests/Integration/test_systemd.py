"""The units under a real systemd: one that the test starts, in a mount namespace of its own."""

import contextlib
import os
import signal

import pytest
from support.commands import eventually
from support.faults import Hold
from support.machine import need_root
from support.namespaces import MountNamespace
from support.processes import wait_until_ended
from support.servers import REGION
from test_service import UNITS, Stall

MIB = 1 << 20
SERVICE = "waysfs@photos.service"


@pytest.fixture
def world(waysfs):
    need_root("make a mount namespace in which there is another systemd")
    with contextlib.closing(MountNamespace(waysfs)) as made:
        made.start_systemd()
        yield made


def show(world, unit, *properties):
    """Properties of a unit, as a list."""
    text = world.systemctl("show", "-p", ",".join(properties), unit).stdout
    values = dict(line.split("=", 1) for line in text.splitlines())
    return [values[name] for name in properties]


def install(world, unit, text):
    """Puts a unit to where the manager finds it; it does not look into /etc/systemd/system."""
    directory = world.path("/mnt/home/.config/systemd/user")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / unit).write_text(text)
    world.systemctl("daemon-reload")


@pytest.fixture(params=["waysfs@.service", "user/waysfs@.service"])
def service(request, world, bucket, proxy):
    """The service, installed with short times; the server behind a proxy, which is returned."""
    middle = proxy(bucket.server)
    text = (UNITS / request.param).read_text().replace("/usr/bin/waysfs", "/usr/sbin/waysfs")
    text = text.replace("/etc/waysfs", "%E/waysfs").replace("RestartSec=10", "RestartSec=100ms")
    # The instance is the bucket, whose name the test does not choose.
    text = text.replace("waysfs mount %i", f"waysfs mount {bucket.name}")
    # A check every second. One that takes two is no sign of life.
    text = text.replace("WatchdogSec=3min", "WatchdogSec=4")
    # A start waits until the test lets it.
    world.path("/mnt/go").touch()
    text = text.replace("ExecStart=", "ExecStartPre=/bin/sh -c 'until [ -e /mnt/go ]; do sleep 0.05; done'\nExecStart=", 1)
    settings = world.path("/mnt/home/.config/waysfs")
    settings.mkdir(parents=True)
    keys = {name: world.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    lines = {
        "WAYSFS_MOUNTPOINT": "/mnt/data",
        "WAYSFS_OPTIONS": f"--endpoint {middle.endpoint} --region {REGION} --write-mode writeback",
        **keys,
    }
    (settings / "photos.env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    install(world, "waysfs@.service", text)
    return middle


def write_while_held(world, middle, content):
    """Writes a file whose upload does not get through; what holds it is returned."""
    world.path("/mnt/data/once").write_bytes(b"")
    world.run("waysfs", "flush", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(content)
    eventually(lambda: hold.held, "the upload is under way")
    return hold


def test_the_service(world, service, bucket):
    """Started is mounted, for everybody; stopped is uploaded."""
    world.systemctl("start", SERVICE)
    # Nothing is waited for.
    assert world.shows("SOURCE,FSTYPE").split() == [f"waysfs:{bucket.name}", "fuse.waysfs"]
    assert show(world, SERVICE, "ActiveState", "SubState", "StatusText") == ["active", "running", "Serving"]

    content = os.urandom(20 * MIB)
    hold = write_while_held(world, service, content)
    with world.start(*world.systemctl_command("stop", SERVICE)) as stopping:
        eventually(
            lambda: show(world, SERVICE, "StatusText")[0].startswith("Finishing: 1 file, "), "it says what it waits for"
        )
        assert show(world, SERVICE, "ActiveState") == ["deactivating"] and stopping.poll() is None
        hold.release()
        assert stopping.wait(40) == 0
    assert bucket.get("file") == content and world.shows("SOURCE") == ""
    assert show(world, SERVICE, "ActiveState", "Result") == ["inactive", "success"]


def test_the_service_is_killed(world, service, bucket):
    world.systemctl("start", SERVICE)
    content = os.urandom(20 * MIB)
    hold = write_while_held(world, service, content)
    (pid,) = show(world, SERVICE, "MainPID")
    world.path("/mnt/go").unlink()
    os.kill(int(pid), signal.SIGKILL)
    wait_until_ended(int(pid))
    hold.drop()
    world.path("/mnt/go").touch()
    eventually(
        lambda: show(world, SERVICE, "NRestarts", "ActiveState") == ["1", "active"], "it is started again", timeout=40
    )
    eventually(lambda: bucket.head("file"), "what was closed is uploaded")
    assert bucket.get("file") == content
    assert "file" in os.listdir(world.path("/mnt/data"))
    assert world.shows("SOURCE") == f"waysfs:{bucket.name}", "one mount is left there"
    world.systemctl("stop", SERVICE)
    assert world.shows("SOURCE") == ""


def test_the_service_stalls(world, service):
    """The watchdog ends what does not answer, and the next one does."""
    world.systemctl("start", SERVICE)
    (pid,) = show(world, SERVICE, "MainPID")
    stall = Stall(int(pid))
    try:
        # A thread that is traced ends when its tracer lets go of it.
        eventually(lambda: stall.is_over(), "systemd has ended it", timeout=40)
    finally:
        stall.end()
    eventually(
        lambda: show(world, SERVICE, "NRestarts", "ActiveState") == ["1", "active"], "it is started again", timeout=40
    )
    world.path("/mnt/data/file").write_bytes(b"x")
    world.systemctl("stop", SERVICE)


def test_the_service_cannot_start(world, service):
    """A mistake in the settings is said, and not tried again."""
    settings = world.path("/mnt/home/.config/waysfs/photos.env")
    settings.write_text(settings.read_text().replace("--region", "--regiom"))
    assert world.systemctl("start", SERVICE, check=False).returncode != 0
    state = show(world, SERVICE, "ActiveState", "NRestarts", "ExecMainStatus")
    assert state == ["failed", "0", "64"] and world.shows("SOURCE") == ""


def test_a_mount_unit(world, bucket, proxy):
    """As systemd makes one of a line of fstab: unmounting waits for the uploads."""
    middle = proxy(bucket.server)
    unit = (UNITS / "examples" / "mnt-photos.mount").read_text()
    unit = unit.replace("What=photos", f"What={bucket.name}").replace("Where=/mnt/photos", "Where=/mnt/data")
    options = f"endpoint={middle.endpoint},region={REGION},cache_dir=/mnt/cache,write_mode=writeback"
    unit = unit.replace("profile=default", options)
    keys = [f"{name}={world.environment[name]}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    install(world, "mnt-data.mount", unit.replace("[Mount]\n", f"[Mount]\nEnvironment={' '.join(keys)}\n"))
    world.systemctl("start", "mnt-data.mount")
    assert world.shows("SOURCE,FSTYPE").split() == [f"waysfs:{bucket.name}", "fuse.waysfs"]
    content = os.urandom(MIB)
    hold = write_while_held(world, middle, content)
    with world.start(*world.systemctl_command("stop", "mnt-data.mount")) as stopping:
        eventually(lambda: world.shows("SOURCE") == "", "it is unmounted")
        assert stopping.poll() is None
        hold.release()
        assert stopping.wait(40) == 0
    assert bucket.get("file") == content
    assert show(world, "mnt-data.mount", "ActiveState", "Result") == ["inactive", "success"]
