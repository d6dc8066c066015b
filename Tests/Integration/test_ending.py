"""How a mount ends: by umount, by a signal, by force."""

import os
import signal
import subprocess
import sys

import pytest
from support.commands import TIME_LIMIT, eventually, run
from support.errors import fails
from support.faults import HELD
from support.machine import need_root
from support.processes import is_alive, is_mounted, wait_until_ended

CONTENT = os.urandom(200_000)


def test_umount_8_ends_the_process(bucket, mount):
    mounted = mount(bucket)
    (mounted.path / "file").write_bytes(CONTENT)
    run("umount", mounted.path) if os.getuid() == 0 else run("fusermount3", "-u", mounted.path)
    mounted.may_be_dead = True
    wait_until_ended(mounted.pid)
    assert bucket.get("file") == CONTENT


def test_umount_of_a_mount_in_use(bucket, mount, waysfs):
    mounted = mount(bucket)
    with open(mounted.path / "file", "wb") as file:
        result = waysfs.run("umount", mounted.path, check=False)
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        assert "in use" in result.stderr and "--lazy" in result.stderr
        assert is_mounted(mounted.path)
        file.write(b"still works")
    assert bucket.get("file") == b"still works"


def test_lazy_umount_of_a_mount_in_use(bucket, mount, waysfs):
    mounted = mount(bucket)
    with open(mounted.path / "file", "wb", buffering=0) as file:
        file.write(CONTENT)
        waysfs.run("umount", "--lazy", mounted.path)
        mounted.may_be_dead = True
        assert not is_mounted(mounted.path) and is_alive(mounted.pid)
        file.write(CONTENT)
    wait_until_ended(mounted.pid)
    assert bucket.get("file") == CONTENT * 2


@pytest.mark.parametrize("path", ["mount/absent", "mount"])
def test_umount_of_what_is_not_mounted(path, waysfs, tmp_path):
    (tmp_path / "mount").mkdir()
    result = waysfs.run("umount", tmp_path / path, check=False)
    assert result.returncode == 1 and result.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_pending_writes_and_exits_0(number, bucket, mount):
    """A program has a file open and has not closed it: its bytes are stored all the same."""
    mounted = mount(bucket, foreground=True)
    script = (
        "import sys; file = open(sys.argv[1], 'wb', buffering=0); file.write(b'pending' * 1000);"
        "print('.', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, mounted.path / "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout.readline() == b".\n"
        assert bucket.head("file") is None
        os.kill(mounted.pid, number)
        assert mounted.wait() == 0
        assert not is_mounted(mounted.path)
        assert bucket.get("file") == b"pending" * 1000
        program.kill()
    assert mounted.unsent() == []


@pytest.fixture
def elsewhere():
    """Starts a process in a mount namespace of its own, which has a copy of all that is mounted then."""
    need_root("make a mount namespace")
    processes = []

    def start():
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo .; exec sleep 3600"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline() == b".\n"

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_signal_ends_a_mount_that_another_namespace_still_has(bucket, mount, elsewhere):
    """Such as that of a container which was started after it."""
    mounted = mount(bucket, foreground=True)
    elsewhere()
    (mounted.path / "file").write_bytes(CONTENT)
    os.kill(mounted.pid, signal.SIGTERM)
    assert mounted.wait() == 0
    assert bucket.get("file") == CONTENT


def test_umount_says_that_another_namespace_still_has_the_mount(bucket, mount, waysfs, elsewhere):
    mounted = mount(bucket)
    elsewhere()
    (mounted.path / "file").write_bytes(CONTENT)
    said = waysfs.run("umount", mounted.path).stderr
    assert "another mount namespace" in said and str(mounted.pid) in said
    mounted.may_be_dead = True
    assert is_alive(mounted.pid)
    os.kill(mounted.pid, signal.SIGTERM)
    wait_until_ended(mounted.pid)
    assert bucket.get("file") == CONTENT


def test_sighup_is_ignored(bucket, mount):
    """A terminal that is closed takes nothing away."""
    mounted = mount(bucket)
    os.kill(mounted.pid, signal.SIGHUP)
    eventually(lambda: "SIGHUP" in mounted.log_text(), "the log says so")
    assert is_alive(mounted.pid) and os.listdir(mounted.path) == []


def test_a_signal_ends_an_idle_mount(bucket, mount):
    mounted = mount(bucket, foreground=True)
    (mounted.path / "file").write_bytes(CONTENT)
    os.kill(mounted.pid, signal.SIGTERM)
    assert mounted.wait() == 0
    assert not is_mounted(mounted.path)


def test_a_signal_while_the_server_is_away_exits_2_and_keeps_the_bytes(bucket, mount, proxy):
    middle = proxy(bucket.server)
    mounted = mount(bucket, foreground=True, endpoint=middle.endpoint)
    with fails("EIO", "ETIMEDOUT"), open(mounted.path / "file", "wb") as file:
        file.write(CONTENT)
        middle.stop()
    os.kill(mounted.pid, signal.SIGTERM)
    assert mounted.wait() == 2
    assert not is_mounted(mounted.path)
    assert len(mounted.unsent()) == 1
    assert "could not be uploaded" in mounted.log_text()
    middle.start()
    again = mount(bucket, endpoint=middle.endpoint, cache=mounted.cache)
    eventually(lambda: bucket.head("file"), "the file of the mount before is uploaded")
    assert (again.path / "file").read_bytes() == CONTENT


def test_after_kill_9(bucket, mount):
    """The dead mount point says so, the next mount clears it, and what was being written is kept for a person."""
    mounted = mount(bucket)
    (mounted.path / "stored").write_bytes(b"stored")
    file = open(mounted.path / "open", "wb", buffering=0)
    file.write(CONTENT)
    mounted.kill()
    with fails("ENOTCONN", "ECONNABORTED"):
        os.listdir(mounted.path)

    # Although a program has a file open on it.
    mounted.start()
    assert "a dead mount was cleared" in mounted.log_text()
    with fails("ENOTCONN", "ECONNABORTED", "EIO"):
        file.close()
    assert os.listdir(mounted.path) == ["stored"]
    assert (mounted.path / "stored").read_bytes() == b"stored"
    eventually(lambda: mounted.keeps(CONTENT), "the bytes of the file that was open are kept")
    eventually(lambda: "look at them" in mounted.log_text(), "the log says so")


def test_what_was_closed_survives_kill_9(bucket, mount, waysfs):
    mounted = mount(bucket)
    for number in range(20):
        (mounted.path / f"file{number}").write_bytes(CONTENT)
    mounted.kill()
    waysfs.run("umount", mounted.path)
    for number in range(20):
        assert bucket.get(f"file{number}") == CONTENT


def test_ctrl_c_while_mounting(bucket, mount, proxy):
    """Nothing is left when the user gives up waiting."""
    middle = proxy(bucket.server)
    middle.script = lambda request, forward: (eventually(lambda: released, "the test goes on", HELD), forward())[1]
    released = []
    made = mount(bucket, endpoint=middle.endpoint, start=False)
    process = made.waysfs.start(*made.arguments(), stderr=subprocess.PIPE)
    try:
        eventually(lambda: middle.requests, "it asks the server")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIME_LIMIT) != 0
        eventually(lambda: not os.path.ismount(made.path), "nothing is mounted")
    finally:
        released.append(True)
        process.stderr.close()


def test_mounting_and_unmounting_many_times(bucket, mount):
    mounted = mount(bucket)
    for number in range(10):
        (mounted.path / f"file{number}").write_text("x")
        mounted.restart()
    assert len(os.listdir(mounted.path)) == 10
