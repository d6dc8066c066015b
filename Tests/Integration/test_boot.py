"""The package on a machine that systemd boots: lines of fstab, the unit, and what is there after a reboot."""

import contextlib
import os

import pytest
from support.booted import BootedMachine
from support.commands import eventually
from support.faults import Hold
from support.machine import need_file_system, need_root
from support.servers import required

MIB = 1 << 20
SOMEBODY = 1000


@pytest.fixture
def autofs():
    need_file_system("autofs")


@pytest.fixture
def machine(tmp_path):
    """A machine that has booted, with the package installed."""
    need_root("boot a machine in namespaces")
    with contextlib.closing(BootedMachine(tmp_path)) as made:
        made.boot()
        made.install(required("WAYSFS_PACKAGE"))
        yield made


def configure(machine, sandbox, endpoint=None):
    """What an administrator does once: the API key in a file, named by the settings."""
    machine.write("/etc/waysfs/api-key", f"{sandbox.api_key}\n", 0o600)
    machine.write("/etc/waysfs/config", f"[default]\napi-key-file = api-key\napi-url = {sandbox.api_url}\n")
    if endpoint:
        with machine.disk("/etc/waysfs/config").open("a") as settings:
            settings.write(f"endpoint = {endpoint}\n")


def write_fstab(machine, *lines):
    """Lines of fstab; the directories in them are made."""
    machine.write("/etc/fstab", "".join(f"{line} 0 0\n" for line in lines))
    for line in lines:
        machine.disk(line.split()[1]).mkdir(parents=True, exist_ok=True)


def failed_units(machine):
    """Those that are about waysfs; what else there is on this machine is not for these tests to judge."""
    patterns = ["mnt-*", "waysfs@*"]
    return machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", *patterns).stdout


def content(sandbox, bucket, key):
    return sandbox.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def is_stored(sandbox, bucket, key):
    answer = sandbox.s3.list_objects_v2(Bucket=bucket, Prefix=key)
    return any(item["Key"] == key for item in answer.get("Contents", []))


@pytest.mark.time_limit(120)
def test_a_line_of_fstab(machine, sandbox):
    """One line, a reboot, and it is there; so it is after the next."""
    configure(machine, sandbox)
    write_fstab(
        machine,
        f"{sandbox.first} /mnt/first waysfs _netdev,nofail,uid={SOMEBODY},allow_other",
        "* /mnt/all waysfs all,_netdev,write_mode=writeback",
    )
    machine.reboot()
    assert failed_units(machine) == "", machine.journal()
    source, options = machine.mounted("/mnt/first")
    assert source == f"waysfs:{sandbox.first}" and {"nosuid", "nodev", "allow_other"} <= set(options.split(","))
    assert machine.mounted("/mnt/all")[0] == "waysfs:*"

    # Without nofail the machine waits for it.
    assert "mnt-all.mount" in machine.show("remote-fs.target", "After")[0]
    somebody = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]
    machine.run(*somebody, "sh", "-c", "echo somebody >/mnt/first/theirs")
    assert content(sandbox, sandbox.first, "theirs") == b"somebody\n"
    machine.run("sh", "-c", f"echo everything >/mnt/all/{sandbox.second}/file")
    machine.reboot()
    assert content(sandbox, sandbox.second, "file") == b"everything\n", "the machine ended before it was uploaded"
    assert machine.run("cat", "/mnt/first/theirs", f"/mnt/all/{sandbox.second}/file").stdout == "somebody\neverything\n"
    assert failed_units(machine) == "", machine.journal()


@pytest.mark.time_limit(120)
def test_mounted_on_demand(autofs, machine, sandbox):
    """By the first who looks, and no longer than somebody does."""
    configure(machine, sandbox)
    options = "noauto,_netdev,x-systemd.automount,x-systemd.idle-timeout=2"
    write_fstab(machine, f"{sandbox.first} /mnt/first waysfs {options}")
    sandbox.s3.put_object(Bucket=sandbox.first, Key="file", Body=b"on demand")
    machine.reboot()
    assert machine.show("mnt-first.automount", "ActiveState", "SubState") == ["active", "waiting"]
    assert machine.mounted("/mnt/first") == []
    for _ in range(2):
        assert machine.run("cat", "/mnt/first/file").stdout == "on demand"
        eventually(lambda: machine.mounted("/mnt/first") == [], "nobody looks any more, and it is unmounted")
    assert failed_units(machine) == "", machine.journal()


@pytest.mark.time_limit(120)
def test_a_server_that_is_away_does_not_hold_up_the_boot(machine, sandbox, proxy):
    """With `nofail` the machine boots without the bucket, and mounts it when it is asked later."""
    middle = proxy(sandbox)
    configure(machine, sandbox, middle.endpoint)
    write_fstab(machine, f"{sandbox.first} /mnt/first waysfs _netdev,nofail,mount_timeout=2")
    middle.stop()
    machine.reboot()
    eventually(lambda: "mnt-first.mount" in failed_units(machine), "systemd says that it is not mounted")
    line = f"mount.waysfs: cannot mount {sandbox.first} on /mnt/first"
    eventually(lambda: line in machine.journal(), "the journal says why")
    assert machine.show("multi-user.target", "ActiveState") == ["active"]
    configure(machine, sandbox)
    machine.run("mount", "/mnt/first")
    assert machine.mounted("/mnt/first")


@pytest.mark.time_limit(120)
def test_the_machine_waits_for_uploads_when_it_ends(machine, sandbox, proxy):
    middle = proxy(sandbox)
    configure(machine, sandbox, middle.endpoint)
    write_fstab(machine, f"{sandbox.first} /mnt/first waysfs _netdev,nofail,write_mode=writeback")
    machine.reboot()
    whole = os.urandom(MIB)
    hold = write_while_held(machine, middle, whole)
    machine.run("systemctl", "--no-block", "poweroff")
    eventually(lambda: "mnt-first.mount" in machine.run("systemctl", "list-jobs", check=False).stdout, "it is unmounted")
    assert not is_stored(sandbox, sandbox.first, "file")
    hold.release()
    machine.wait()
    assert content(sandbox, sandbox.first, "file") == whole


@pytest.mark.time_limit(120)
def test_the_power_fails(machine, sandbox, proxy):
    """What was closed when everything ended at once is sent by the mount of the next boot."""
    middle = proxy(sandbox)
    configure(machine, sandbox, middle.endpoint)
    write_fstab(machine, f"{sandbox.first} /mnt/first waysfs _netdev,nofail,write_mode=writeback")
    machine.reboot()
    whole = os.urandom(20 * MIB)
    hold = write_while_held(machine, middle, whole)
    machine.pull_the_plug()
    hold.drop()
    assert not is_stored(sandbox, sandbox.first, "file")
    machine.boot()
    assert machine.mounted("/mnt/first"), machine.journal()
    eventually(lambda: is_stored(sandbox, sandbox.first, "file"), "what was closed is uploaded")
    assert content(sandbox, sandbox.first, "file") == whole


def write_while_held(machine, middle, whole):
    """Writes a file whose upload does not get through; what holds it is returned."""
    machine.path("/mnt/first/once").write_bytes(b"")
    machine.run("waysfs", "flush", "/mnt/first")
    hold = Hold(middle)
    machine.path("/mnt/first/file").write_bytes(whole)
    eventually(lambda: hold.held, "the upload is under way")
    return hold


@pytest.mark.time_limit(120)
def test_the_service(machine, sandbox, proxy):
    """With a credential of systemd's store: enabled, killed in the middle of an upload, booted again, stopped."""
    middle = proxy(sandbox)
    unit = f"waysfs@{sandbox.first}.service"
    machine.write(f"/etc/credstore/waysfs-{sandbox.first}-api-key", f"{sandbox.api_key}\n", 0o600)
    options = f"--allow-other --write-mode writeback --api-url {sandbox.api_url} --endpoint {middle.endpoint}"
    machine.write(
        f"/etc/waysfs/{sandbox.first}.env", f"WAYSFS_MOUNTPOINT=/mnt/first\nWAYSFS_OPTIONS={options}\n", 0o600
    )
    machine.disk("/mnt/first").mkdir()
    machine.run("systemctl", "enable", "--now", unit)
    # Nothing is waited for.
    assert machine.mounted("/mnt/first")[0] == f"waysfs:{sandbox.first}"
    assert machine.show(unit, "ActiveState", "StatusText") == ["active", "Serving"]

    whole = os.urandom(20 * MIB)
    hold = write_while_held(machine, middle, whole)
    pid = int(machine.show(unit, "MainPID")[0])
    assert sandbox.api_key not in machine.path(f"/proc/{pid}/environ").read_text()
    machine.run("kill", "-KILL", str(pid))
    hold.drop()
    eventually(
        lambda: machine.show(unit, "ActiveState") == ["active"] and int(machine.show(unit, "NRestarts")[0]) >= 1,
        "systemd starts it again",
    )
    eventually(lambda: is_stored(sandbox, sandbox.first, "file"), "what was closed is uploaded")
    assert content(sandbox, sandbox.first, "file") == whole

    machine.reboot()
    assert machine.show(unit, "ActiveState", "Result") == ["active", "success"]
    assert machine.path("/mnt/first/file").read_bytes() == whole
    machine.run("systemctl", "stop", unit)
    assert machine.mounted("/mnt/first") == []
    assert machine.show(unit, "ActiveState", "Result") == ["inactive", "success"]
