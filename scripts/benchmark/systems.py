"""The systems that are compared: how each is mounted. All run in the foreground as child processes, with the
settings that a user gets who sets nothing but what is needed to reach the server, and what a row asks for."""

import contextlib
import dataclasses
import os
import pathlib
import shutil

import processes


@dataclasses.dataclass(frozen=True)
class Account:
    """Where the bucket is."""

    environment: dict
    bucket: str

    @property
    def endpoint(self):
        return self.environment["WAYSFS_ENDPOINT"]

    @property
    def region(self):
        return self.environment["AWS_REGION"]

    @property
    def keys(self):
        return self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"]


class System:
    """A program that mounts a bucket."""

    name: str

    def __init__(self, program, account, options=()):
        """options: further arguments."""
        self.program = program
        self.account = account
        self.options = options

    def having(self, options):
        """The same with further arguments."""
        return type(self)(self.program, self.account, options)

    def command(self, mount_point, cache):
        """Arguments and additional environment; `cache` is an empty directory for what it keeps on disk."""
        raise NotImplementedError


class Waysfs(System):
    name = "waysfs"

    def command(self, mount_point, cache):
        access_key, secret_key = self.account.keys
        arguments = ["mount", self.account.bucket, mount_point, "--foreground", "--endpoint", self.account.endpoint]
        arguments += ["--region", self.account.region, "--path-style", "--cache-dir", cache]
        # What is measured is the network, unless a row says otherwise: the last word counts.
        arguments += ["--cache-limit", "0", *self.options]
        return arguments, {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}


class S3FS(System):
    name = "s3fs"

    def command(self, mount_point, cache):
        passwords = cache / "passwd"
        with open(os.open(passwords, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(":".join(self.account.keys) + "\n")
        # It writes to a temporary file and uploads that at close, in parts of 10 MiB, five at a time; without use_cache
        # the file is gone afterwards.
        options = [f"url={self.account.endpoint}", "use_path_request_style", f"passwd_file={passwords}"]
        options += [f"endpoint={self.account.region}", f"tmpdir={cache}"]
        return ["-f", self.account.bucket, mount_point, "-o", ",".join(options)], {}


class Rclone(System):
    name = "rclone"

    def command(self, mount_point, cache):
        access_key, secret_key = self.account.keys
        # Upload at once: its default is to wait five seconds after close.
        arguments = ["mount", f"bench:{self.account.bucket}", mount_point, "--vfs-cache-mode", "full"]
        arguments += ["--vfs-write-back", "0s", "--cache-dir", cache]
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": self.account.endpoint, "REGION": self.account.region}
        remote |= {"ACCESS_KEY_ID": access_key, "SECRET_ACCESS_KEY": secret_key}
        environment = {f"RCLONE_CONFIG_BENCH_{name}": value for name, value in remote.items()}
        return arguments, environment | {"RCLONE_CONFIG": os.devnull}


ALL = {system.name: system for system in (Waysfs, S3FS, Rclone)}


class Mount:
    """A mounted system."""

    def __init__(self, process, path):
        self.process = process
        self.path = path

    @property
    def cpu(self):
        return processes.cpu_seconds(self.process.pid)

    @property
    def peak(self):
        return processes.memory(self.process.pid, "VmHWM")

    @property
    def resident(self):
        return processes.memory(self.process.pid, "VmRSS")


@contextlib.contextmanager
def cache_directory(system, directory):
    """An empty directory for what a system keeps on disk, which is removed afterwards."""
    cache = pathlib.Path(directory, f"{system.name}.cache")
    cache.mkdir()
    try:
        yield cache
    finally:
        # Who could not be unmounted may still be writing there.
        if not processes.is_mounted(_mount_point(system, directory)):
            shutil.rmtree(cache, ignore_errors=True)


def _mount_point(system, directory):
    return pathlib.Path(directory, system.name)


@contextlib.contextmanager
def mounted(system, directory, cache=None, group=None):
    """Mounts, with an empty cache unless there is one to be used.

    directory: of this run; mount points and caches of all systems are made in it, so that they share a disk.
    group: the file with the processes of a cgroup, into which the daemon goes.
    """
    if cache is None:
        with cache_directory(system, directory) as cache, mounted(system, directory, cache, group) as mount:
            yield mount
        return
    mount_point = _mount_point(system, directory)
    log = pathlib.Path(directory, f"{system.name}.log")
    mount_point.mkdir()
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    arguments, environment = system.command(mount_point, cache)
    process = None
    try:
        command = [str(argument) for argument in [system.program, *arguments]]
        if group is not None:
            command = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group), *command]
        process = processes.start(command, inherited | {"TMPDIR": str(cache)} | environment, log, directory)
        processes.wait_until(
            lambda: processes.is_mounted(mount_point), 30, f"{system.name} did not mount", process=process, log=log
        )
        # The first answer: from here on the daemon serves.
        os.stat(mount_point)
        yield Mount(process, mount_point)
        if process.poll() is not None:
            raise processes.Failed(f"{system.name} has ended with {process.returncode}\n{processes.tail(log)}")
    finally:
        processes.unmount(mount_point)
        if process is not None:
            with contextlib.suppress(Exception):
                process.wait(60)
            processes.stop(process)
        if not processes.is_mounted(mount_point):
            mount_point.rmdir()
