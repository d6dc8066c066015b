"""waysfs as a service: what its manager hears, the units that come along, the journal."""

import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from support.commands import eventually, run
from support.faults import Hold
from support.machine import need_root, program
from support.namespaces import MountNamespace
from support.processes import is_alive, is_mounted
from support.servers import REGION

UNITS = Path(__file__).parents[2] / "systemd"
MIB = 1 << 20


class Manager:
    """What systemd is for a service: listens on NOTIFY_SOCKET. `lines` is what it has heard."""

    def __init__(self, address):
        self.address = address
        self.lines = []
        self.lock = threading.Lock()
        # Seconds; there is a check four times as often.
        self.watchdog = 2
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        # All the time, since a socket that nobody reads takes no more than ten datagrams.
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while datagram := self.socket.recv(65_536):
            with self.lock:
                self.lines += datagram.decode().split("\n")

    def forget(self):
        with self.lock:
            self.lines = []

    def hears(self, pattern):
        """Waits for a line of a form."""
        eventually(lambda: any(re.fullmatch(pattern, line) for line in self.lines), f"the manager hears {pattern}")

    def close(self):
        self.socket.shutdown(socket.SHUT_RD)
        self.reader.join(10)
        self.socket.close()

    def wait(self, line, count=1):
        eventually(lambda: self.lines.count(line) >= count, f"the manager hears {line} {count} times")

    @property
    def below(self):
        """Runs a program as its service."""
        return ["env", f"NOTIFY_SOCKET={self.address}", f"WATCHDOG_USEC={self.watchdog}000000"]


@pytest.fixture
def manager(tmp_path):
    # The path of a socket may have 107 bytes, and those of tests are longer.
    made = Manager(f"@waysfs-test-{os.getpid()}-{tmp_path.name}")
    yield made
    made.close()


@pytest.fixture
def service(mount, manager, bucket):
    """A mount in the foreground, whose manager is `manager`."""

    def start(*options, endpoint=None, **more):
        made = mount(bucket, *options, endpoint=endpoint, foreground=True, start=False, **more)
        made.below = manager.below
        return made.start()

    return start


def test_ready_when_the_mount_answers(bucket, service, manager, proxy):
    middle = proxy(bucket.server)
    hold = Hold(middle, lambda request: True)
    bucket.put("file", b"x")
    starting = threading.Thread(target=lambda: started.append(service(endpoint=middle.endpoint)), daemon=True)
    started = []
    starting.start()
    eventually(lambda: hold.held, "the server is asked")
    manager.wait(f"STATUS=Starting: connecting to {middle.endpoint}")
    assert "READY=1" not in manager.lines
    hold.release()
    manager.wait("READY=1")
    starting.join()
    mounted = started[0]
    assert os.listdir(mounted.path) == ["file"]
    manager.wait("STATUS=Serving")
    # What it runs, and whoever looks at its environment, does not speak for it.
    assert "STOPPING=1" not in manager.lines
    mounted.unmount()
    manager.wait("STATUS=Everything is in the bucket")
    assert manager.lines.count("READY=1") == 1 and manager.lines.count("STOPPING=1") == 1
    assert mounted.wait() == 0


def test_a_socket_with_a_path(bucket, mount, tmp_path):
    directory = Path("/tmp") / f"waysfs-notify-{os.getpid()}"
    directory.mkdir(mode=0o700)
    try:
        manager = Manager(str(directory / "notify"))
        mounted = mount(bucket, foreground=True, start=False)
        mounted.below = manager.below
        mounted.start()
        manager.wait("READY=1")
        manager.close()
    finally:
        shutil.rmtree(directory)
    # The manager is gone, and nobody minds.
    (mounted.path / "file").write_bytes(b"x")
    mounted.unmount()


def test_why_it_could_not_start(bucket, manager, waysfs, tmp_path):
    (tmp_path / "mount").mkdir()
    arguments = ["mount", bucket.name, tmp_path / "mount", "--foreground", "--endpoint", "http://127.0.0.1:1"]
    process = waysfs.start(*arguments, "--cache-dir", tmp_path / "cache", below=manager.below, stderr=subprocess.PIPE)
    with process:
        assert process.wait(30) == 1
    manager.hears("STATUS=Cannot mount: .*127.0.0.1:1.*")
    # Also what is known before anybody is asked.
    (tmp_path / "mount" / "file").touch()
    with waysfs.start(*arguments, below=manager.below, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 1
    manager.hears("STATUS=Cannot mount: .* is not empty.*")
    assert "READY=1" not in manager.lines


def test_a_server_that_does_not_answer_in_time(bucket, manager, waysfs, tmp_path, proxy):
    middle = proxy(bucket.server)
    hold = Hold(middle, lambda request: True)
    (tmp_path / "mount").mkdir()
    arguments = ["mount", bucket.name, tmp_path / "mount", "--foreground", "--endpoint", middle.endpoint]
    arguments += ["--cache-dir", tmp_path / "cache", "--mount-timeout", "3s"]
    with waysfs.start(*arguments, below=manager.below, stderr=subprocess.PIPE, text=True) as process:
        said = process.communicate(timeout=30)[1]
    hold.drop()
    assert process.returncode == 1 and f"did not answer within 3 s (connecting to {middle.endpoint})" in said
    manager.hears("STATUS=Cannot mount: the mount did not answer within 3 s .*")


class Stall:
    """Stops the threads of a process that answer the kernel, as a deadlock would."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    WALL = 0x40000000

    def __init__(self, pid):
        self.trace = ctypes.CDLL(None, use_errno=True).ptrace
        self.trace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.threads = []
        for task in threads(pid, "waysfs-fuse"):
            self._call(self.SEIZE, int(task.name))
            self.threads.append(int(task.name))
        for thread in self.threads:
            self._call(self.INTERRUPT, thread)
            os.waitpid(thread, self.WALL)

    def is_over(self):
        """Whether the process was ended from outside: a killed thread has to be waited for by who traces it."""
        for thread in list(self.threads):
            if os.waitpid(thread, self.WALL | os.WNOHANG)[0] == thread:
                self.threads.remove(thread)
        return not self.threads

    def end(self):
        for thread in self.threads:
            self._call(self.DETACH, thread)

    def _call(self, request, thread):
        if self.trace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")


def test_the_watchdog_is_fed_only_while_the_mount_answers(service, manager):
    mounted = service()
    manager.wait("WATCHDOG=1", 4)
    stall = Stall(mounted.pid)
    try:
        assert len(stall.threads) >= 4
        manager.wait("STATUS=The mount does not answer")
        manager.forget()
        looks = wakeups(mounted.pid, "waysfs-service")
        eventually(lambda: wakeups(mounted.pid, "waysfs-service") > looks + 4, "it has looked several times since")
        assert manager.lines == [] and "the mount does not answer" in mounted.log_text()
    finally:
        stall.end()
    manager.wait("WATCHDOG=1", 3)
    manager.wait("STATUS=Serving")
    assert "the mount answers again" in mounted.log_text()


def test_who_asks_the_mount_keeps_nothing_of_it_open(service, manager):
    """A thread that waits for the answer to a request that was taken up cannot be killed. If it were one of the process
    that serves the mount, which then keeps the device open, that would never end."""
    mounted = service()
    manager.wait("WATCHDOG=1", 2)
    (asker,) = map(int, Path(f"/proc/{mounted.pid}/task/{mounted.pid}/children").read_text().split())
    assert Path(f"/proc/{asker}/comm").read_text() == "waysfs-check\n"
    assert os.listdir(f"/proc/{asker}/fd") == ["0"]
    stall = Stall(mounted.pid)
    try:
        manager.wait("STATUS=The mount does not answer")
        os.kill(mounted.pid, signal.SIGKILL)
        eventually(stall.is_over, "its threads end, and with them the request that nobody answers")
    finally:
        stall.end()
    mounted.may_be_dead = True
    eventually(lambda: not is_alive(mounted.pid) and not is_alive(asker), "both processes end")


def test_a_server_that_is_away_is_no_reason_to_stop_feeding(bucket, service, manager, proxy):
    """More callers wait than there are threads to answer them."""
    # A machine that is busy for a moment is not to matter here.
    manager.watchdog = 8
    middle = proxy(bucket.server)
    mounted = service("--metadata-ttl", "0", endpoint=middle.endpoint)
    hold = Hold(middle, lambda request: True)
    with subprocess.Popen(
        ["sh", "-c", 'for n in $(seq 100); do (test -e "$0/absent$n") & done; wait; true', mounted.path]
    ) as callers:
        eventually(lambda: len(hold.held) >= 32, "all connections are in use")
        eventually(lambda: len(threads(mounted.pid, "waysfs-fuse")) >= 64, "every thread waits for the server")
        manager.forget()
        manager.wait("WATCHDOG=1", 3)
        assert "STATUS=The mount does not answer" not in manager.lines
        hold.lose()
        manager.forget()
        manager.wait("WATCHDOG=1", 2)
        middle.start()
        assert callers.wait(60) == 0
    assert "does not answer" not in mounted.log_text()


def threads(pid, name):
    """The directories of the threads of a process with a name."""
    tasks = [Path(f"/proc/{pid}/task/{thread}") for thread in os.listdir(f"/proc/{pid}/task")]
    return [task for task in tasks if (task / "comm").read_text() == f"{name}\n"]


def wakeups(pid, name):
    """How often a thread has gone to sleep so far."""
    (task,) = threads(pid, name)
    return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.MULTILINE)[1])


def test_sigterm_during_a_large_upload_finishes_it(bucket, service, manager, proxy):
    middle = proxy(bucket.server)
    mounted = service(mode="writeback", endpoint=middle.endpoint).ask_what_is_asked_once()
    hold = Hold(middle)
    content = os.urandom(40 * MIB)
    (mounted.path / "large").write_bytes(content)
    eventually(lambda: hold.held, "the upload is under way")
    os.kill(mounted.pid, signal.SIGTERM)
    manager.wait("STOPPING=1")
    manager.wait("EXTEND_TIMEOUT_USEC=60000000", 3)
    manager.hears(r"STATUS=Finishing: 1 file, [0-9.]+ MiB to upload")
    assert mounted.process.poll() is None and "STATUS=Everything is in the bucket" not in manager.lines
    hold.release()
    assert mounted.wait() == 0
    assert bucket.get("large") == content
    manager.wait("STATUS=Everything is in the bucket")


def test_what_could_not_be_uploaded_is_the_last_word(bucket, service, manager, proxy):
    middle = proxy(bucket.server)
    mounted = service(mode="writeback", endpoint=middle.endpoint).ask_what_is_asked_once()
    hold = Hold(middle)
    (mounted.path / "file").write_bytes(b"x" * MIB)
    eventually(lambda: hold.held, "the upload is under way")
    hold.lose()
    os.kill(mounted.pid, signal.SIGTERM)
    assert mounted.wait() == 2
    manager.hears(r"STATUS=1 file could not be uploaded; kept in /.*")


# MARK: The units


def settings(unit, name):
    """The values of a setting of a unit file."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def unit_command(name, binary, instance, environment):
    """A command of waysfs@.service as systemd would run it."""
    (line,) = settings(UNITS / "waysfs@.service", name)
    words = []
    for word in shlex.split(line.removeprefix("-").replace("%i", instance).replace("/usr/bin/waysfs", str(binary))):
        if re.fullmatch(r"\$\w+", word):
            words += environment[word[1:]].split()
        else:
            word = re.sub(r"(?<!\$)\$\{(\w+)\}", lambda match: environment[match[1]], word)
            words.append(word.replace("$$", "$"))
    return words


def restrictions():
    """Runs a program without the privileges that waysfs@.service does not have."""
    if os.getuid() != 0:
        return []
    (names,) = settings(UNITS / "waysfs@.service", "CapabilityBoundingSet")
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names.split())
    return ["setpriv", "--no-new-privs", f"--bounding-set=-all,{kept}"]


@pytest.mark.parametrize("cleans_up", [True, False], ids=["ExecStopPost", "nothing"])
def test_sigkill_and_what_the_unit_does_then_finishes_an_upload(cleans_up, bucket, mount, manager, waysfs, proxy):
    """The unit's own commands, run as systemd runs them, with and without the one after the stop."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, start=False)
    options = ["--endpoint", middle.endpoint, "--region", REGION, "--cache-dir", str(mounted.cache)]
    options += ["--write-mode", "writeback", "--log-file", str(mounted.log), "--log-level", "debug"]
    environment = {"WAYSFS_MOUNTPOINT": str(mounted.path), "WAYSFS_OPTIONS": " ".join(options)}

    def unit(name, **more):
        command = [*restrictions(), *unit_command(name, waysfs.binary, bucket.name, environment)]
        return subprocess.Popen([*manager.below, *command], env={**waysfs.environment, **environment, **more})

    with unit("ExecStart") as process:
        manager.wait("READY=1")
        mounted.pid, mounted.may_be_dead = process.pid, True
        mounted.ask_what_is_asked_once()
        hold = Hold(middle)
        content = os.urandom(20 * MIB)
        (mounted.path / "large").write_bytes(content)
        eventually(lambda: hold.held, "the upload is under way")
        process.kill()
    hold.drop()
    manager.forget()
    if cleans_up:
        with unit("ExecStopPost", EXIT_CODE="killed") as cleaning:
            assert cleaning.wait(20) == 0
        assert not is_mounted(mounted.path)
    else:
        assert is_mounted(mounted.path)

    with unit("ExecStart") as process:
        manager.wait("READY=1")
        mounted.pid = process.pid
        eventually(lambda: bucket.head("large"), "the upload of the one before is finished")
        assert bucket.get("large") == content
        assert ("a dead mount was cleared" in mounted.log_text()) == (not cleans_up)
        with unit("ExecStop") as stopping:
            assert stopping.wait(30) == 0
        assert process.wait(30) == 0
    with unit("ExecStopPost", EXIT_CODE="exited") as cleaning:
        assert cleaning.wait(20) == 0
    assert not is_mounted(mounted.path)


@pytest.fixture
def analyze():
    """systemd-analyze(1), which needs no systemd that runs."""
    return program("systemd-analyze", "systemd")


INSTANCES = ["waysfs@photos.service", "user/waysfs@photos.service", "mnt-photos.mount", "mnt-photos.automount"]


@pytest.mark.parametrize("name", INSTANCES)
def test_systemd_understands_the_units(name, analyze, waysfs, tmp_path):
    for unit in [*UNITS.glob("examples/*"), UNITS / Path(name).parent / "waysfs@.service"]:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/waysfs", waysfs.binary))
    (tmp_path / "run").mkdir()
    scope = ["--user"] if name.startswith("user/") else []
    result = run(
        *(analyze, *scope, "verify", "--man=no", tmp_path / Path(name).name),
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
    )
    assert result.stdout + result.stderr == ""


def test_the_exposure_of_the_service(analyze, tmp_path):
    """docs/operations.md says how much; not more than that."""
    unit = tmp_path / "waysfs@photos.service"
    unit.write_text((UNITS / "waysfs@.service").read_text())
    text = run(analyze, "security", "--offline=yes", "--no-pager", unit).stdout
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1])
    assert score <= 4.3, text


# What gives a process a mount namespace of its own (systemd.exec(5)): its mount would be seen by nobody else.
HIDES_MOUNTS = [
    *("PrivateMounts", "PrivateTmp", "PrivateDevices", "PrivateIPC", "PrivateUsers", "DynamicUser", "RootDirectory"),
    *("RootImage", "ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectKernelTunables"),
    *("ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ReadOnlyPaths", "ReadWritePaths"),
    *("InaccessiblePaths", "ExecPaths", "NoExecPaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths"),
    *("MountImages", "ExtensionImages", "ExtensionDirectories", "MountFlags", "LogNamespace", "JoinsNamespaceOf"),
]


def test_the_mount_of_the_service_is_seen_by_all():
    for unit in UNITS.rglob("*.service"):
        assert [name for name in HIDES_MOUNTS if settings(unit, name)] == []
    # fusermount3 is set-user-ID, and a user's mount takes it.
    user = UNITS / "user" / "waysfs@.service"
    implied = ["NoNewPrivileges", "SystemCallFilter", "RestrictNamespaces", "MemoryDenyWriteExecute", "LockPersonality"]
    assert [name for name in implied if settings(user, name)] == []


# MARK: The journal


def fields(entry):
    """An entry of the native protocol without values that have line breaks, as a dictionary."""
    return dict(line.split("=", 1) for line in entry.decode().splitlines())


@pytest.mark.parametrize("background", [False, True])
def test_the_journal_gets_levels_and_fields(background, bucket, waysfs, tmp_path):
    need_root("make a mount namespace in which there is another journal")
    world = MountNamespace(waysfs)
    stderr = (tmp_path / "stderr").open("w+b")
    try:
        world.run("mkdir", "-p", "/run/systemd/journal")
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        journal.bind(str(world.path("/run/systemd/journal/socket")))
        journal.settimeout(30)
        stream = os.fstat(stderr.fileno())
        arguments = ["waysfs", "mount", bucket.name, "/mnt/data", "--endpoint", bucket.server.endpoint]
        arguments += ["--region", REGION, "--cache-dir", "/mnt/cache"] + ([] if background else ["--foreground"])
        process = world.start(
            *arguments, environment={"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}, stderr=stderr
        )
        while True:
            entry = fields(journal.recv(1 << 20))
            if entry["MESSAGE"].startswith("mounted "):
                break
        assert entry["PRIORITY"] == "6" and entry["SYSLOG_IDENTIFIER"] == "waysfs"
        assert entry["WAYSFS_BUCKET"] == bucket.name and entry["WAYSFS_MOUNTPOINT"] == "/mnt/data"
        assert entry["WAYSFS_ON"] == "/mnt/data" and entry["WAYSFS_SOURCE"] == f"waysfs:{bucket.name}"
        # The socket goes; in the foreground there still is standard error, where the level stands in front.
        journal.close()
        eventually(lambda: world.shows("FSTYPE") == "fuse.waysfs", "it is mounted")
        if background:
            # The one that has started it is about to end.
            assert process.wait(30) == 0
        daemon = [pid for pid in world.processes() if b"mount" in Path(f"/proc/{pid}/cmdline").read_bytes()][0]
        os.kill(daemon, signal.SIGTERM)
        eventually(lambda: not is_alive(daemon), "it ends")
        assert process.wait(30) == 0
        stderr.seek(0)
        lines = stderr.read().splitlines()
        assert (b"<5>signal received signal=SIGTERM" in lines) == (not background), lines
    finally:
        world.close()
        stderr.close()
