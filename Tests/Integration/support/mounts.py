"""Mounts of waysfs: started, looked after, and always taken away again."""

import contextlib
import os
import signal
import subprocess
import sys

from support.commands import TIME_LIMIT, eventually, run
from support.processes import daemons, is_alive, is_mounted, wait_until_ended
from support.servers import REGION, required


class Waysfs:
    """The program under test, and the environment it gets: nothing from the person who runs the tests."""

    def __init__(self, home):
        self.binary = os.path.realpath(required("WAYSFS_BINARY"))
        home.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": required("AWS_ACCESS_KEY_ID"),
            "AWS_SECRET_ACCESS_KEY": required("AWS_SECRET_ACCESS_KEY"),
        }
        if "XDG_RUNTIME_DIR" in os.environ:
            self.environment["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]

    def run(self, *arguments, environment=None, **options):
        return run(self.binary, *arguments, env={**self.environment, **(environment or {})}, **options)

    def start(self, *arguments, below=(), **options):
        """Starts it and does not wait; `below` is a command that runs it, in the same process."""
        return subprocess.Popen(
            [*below, self.binary, *map(os.fspath, arguments)], env=self.environment, stdin=subprocess.DEVNULL, **options
        )


class Mount:
    """One mount. Its directory is `path`; what it keeps is in `cache`; `log` is its log file."""

    def __init__(self, waysfs, source, endpoint, directory, options, point=None):
        self.waysfs = waysfs
        self.source = source
        self.path = point or directory / "mount"
        # The write mode, where the test has named one.
        self.mode = None
        self.cache = directory / "cache"
        self.log = directory / "log"
        self.options = [
            *("--endpoint", endpoint, "--region", REGION, "--path-style"),
            *("--cache-dir", str(self.cache), "--log-file", str(self.log)),
            # What is seen is to come from the bucket; tests of the disk cache say otherwise, and the last word counts.
            *("--cache-limit", "0"),
            *options,
        ]
        self.pid = None
        # A test that ends the daemon by force says so; otherwise its absence at the end is a crash.
        self.may_be_dead = False
        self.path.mkdir(parents=True, exist_ok=True)

    def arguments(self, *more):
        return ["mount", self.source, str(self.path), *self.options, *more]

    def start(self):
        """Mounts in the background."""
        self.waysfs.run(*self.arguments())
        found = [pid for pid, point in daemons(self.waysfs.binary, self.path).items() if is_alive(pid)]
        assert len(found) == 1, f"one process serves the mount, found {found}\n{self.log_text()}"
        self.pid = found[0]
        self.may_be_dead = False
        return self

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def unmount(self, *options):
        """Unmounts as a user does, and makes sure that nothing is left."""
        result = self.waysfs.run("umount", *options, self.path)
        assert not is_mounted(self.path)
        wait_until_ended(self.pid)
        self.may_be_dead = True
        return result

    def restart(self):
        """Unmounts and mounts again: nothing that is seen then comes from memory."""
        self.unmount()
        return self.start()

    def kill(self, number=signal.SIGKILL):
        self.may_be_dead = True
        # A test may have killed it from elsewhere.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        wait_until_ended(self.pid)

    def wait_for_uploads(self, below=""):
        """Returns when everything that was closed is in the bucket; fails with the error of what could not be sent."""
        descriptor = os.open(self.path / below, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def ask_what_is_asked_once(self):
        """Whether the server minds conditions, and the like: before a test holds or refuses requests."""
        (self.path / "once").write_bytes(b"")
        self.wait_for_uploads()
        (self.path / "once").unlink()
        return self

    @contextlib.contextmanager
    def program(self, script, *arguments):
        """Runs a Python script beside the test, for a call that is not to end, or not well; at the end it is gone."""
        process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def unsent(self):
        """Names of what the journal has yet to send or to end: records of files, and intents of renames."""
        return sorted(path.name for path in self.cache.glob("*/files/*") if path.suffix in (".record", ".rename"))

    def wait_until_sent(self):
        """Returns when the journal has nothing left to send, and lets go of what was sent."""
        eventually(lambda: self.unsent() == [], "what is uploaded is not kept any longer")

    def kept(self):
        """Files with bytes that the journal keeps of what is being written, was closed, or never will be."""
        return [path for path in self.cache.glob("*/*/*") if path.name.endswith((".data", ".copy"))]

    def keeps(self, content):
        """Whether the journal has a file with these bytes; it may be working."""
        for path in self.kept():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size == len(content) and path.read_bytes() == content:
                    return True
        return False

    def start_after_death(self):
        """Takes the mount of a daemon that was killed away, and mounts again with the same cache directory."""
        if is_mounted(self.path):
            self.waysfs.run("umount", self.path)
        return self.start()

    def take_away(self):
        """At the end of a test: whatever happened, nothing is left. Returns what was not as it should be."""
        problems = []
        dead = self.pid is not None and not is_alive(self.pid)
        if dead and not self.may_be_dead:
            problems.append(f"the process of {self.path} died during the test")
        if is_mounted(self.path):
            try:
                result = self.waysfs.run("umount", self.path, check=False)
                if result.returncode != 0 and not self.may_be_dead:
                    problems.append(f"unmounting {self.path}: {result.stderr}")
            except subprocess.TimeoutExpired as error:
                problems.append(f"unmounting {self.path}: {error}")
        while is_mounted(self.path):
            run("umount", "-l", self.path, check=False)
        if self.pid is not None and is_alive(self.pid):
            try:
                wait_until_ended(self.pid)
            except AssertionError:
                problems.append(f"process {self.pid} did not end with its mount")
                os.kill(self.pid, signal.SIGKILL)
        return problems


class ForegroundMount(Mount):
    """A mount whose process is a child of the test, so that its exit status is seen."""

    # A command that runs it, such as prlimit.
    below = ()

    def start(self):
        self.output = self.log.with_suffix(".output").open("w+")
        self.process = self.waysfs.start(
            *self.arguments("--foreground"), below=self.below, stdout=self.output, stderr=subprocess.STDOUT
        )
        self.pid = self.process.pid
        self.may_be_dead = False
        eventually(
            lambda: is_mounted(self.path) or self.process.poll() is not None, "the foreground mount answers"
        )
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log_text()}"
        return self

    def wait(self):
        """The exit status, once the process has ended."""
        self.may_be_dead = True
        return self.process.wait(TIME_LIMIT)

    def take_away(self):
        problems = super().take_away()
        if self.pid is not None:
            self.process.wait(TIME_LIMIT)
            self.output.close()
        return problems
