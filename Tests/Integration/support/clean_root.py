"""A clean system with nothing but what the package depends on, as `scripts/clean-root` makes it, to run things in."""

import os
import shutil
import subprocess
from pathlib import Path

from support.commands import run
from support.machine import need_root
from support.servers import required

SETUP = """
set -e
cd "$1"
mount -t tmpfs tmpfs changes
mkdir changes/upper changes/work
mount -t overlay -o "lowerdir=$2,upperdir=changes/upper,workdir=changes/work" overlay root
mount -t proc proc root/proc
mount -t tmpfs tmpfs root/run
echo ready
# As the first process of its namespace it also collects those whose parents have ended.
while read -r line; do :; done
"""


# What the package manager writes about packages, and what is no part of the files.
NOT_COMPARED = ("/var/lib/dpkg", "/var/log", "/proc", "/run")


def unpack(directory):
    """The archive's files in a directory, for many roots."""
    need_root("change the root directory")
    directory.mkdir()
    run("tar", "--extract", "--file", required("WAYSFS_CLEAN_ROOT"), "--directory", directory, timeout=300)
    run("mknod", "-m", "0666", directory / "dev/fuse", "c", "10", "229")
    return directory


class CleanRoot:
    """A root directory in mount and process namespaces of its own: what is changed, mounted and started in it ends with
    it, and `base`, whose files it has, stays as it is."""

    def __init__(self, base, directory):
        self.directory = directory / "clean"
        self.inside = self.directory / "root"
        for path in [self.directory, self.inside, self.directory / "changes"]:
            path.mkdir()
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", SETUP, "setup", self.directory, base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.holder.stdout.readline() != "ready\n":
            # With it go the namespaces and what is mounted in them.
            self.holder.kill()
            self.holder.communicate()
            raise AssertionError("the namespaces cannot be made")
        # Where it is seen from outside of its namespace.
        self.path = Path(f"/proc/{self.holder.pid}/root{self.inside}")

    def run(self, *arguments, environment=None, **options):
        """Runs a program in it; nothing of this machine's environment is there."""
        variables = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LC_ALL": "C", **(environment or {})}
        return run(*self.entering(), *arguments, env=variables, **options)

    def entering(self):
        """A command that runs what follows it in here."""
        namespaces = f"/proc/{self.holder.pid}/ns"
        enter = ["nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children"]
        return [*enter, "chroot", str(self.inside)]

    def file(self, path):
        """Where a file of it is, seen from here; links of it are not to be followed."""
        return self.path / path.lstrip("/")

    def write(self, path, text, mode=0o644):
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.file(path).write_text(text)
        self.file(path).chmod(mode)

    def install(self, package, **options):
        """Installs a package file, and returns what that printed."""
        shutil.copy(package, self.file("/package.deb"))
        try:
            return self.run("dpkg", "--force-unsafe-io", "--install", "/package.deb", **options).stdout
        finally:
            self.file("/package.deb").unlink()

    def paths(self):
        """Everything below it."""
        found = set()
        for directory, directories, files in os.walk(self.path):
            here = Path("/") / Path(directory).relative_to(self.path)
            directories[:] = [name for name in directories if str(here / name) not in NOT_COMPARED]
            found.update(str(here / name) for name in directories + files)
        return found

    def processes(self):
        """Command lines of what runs the program of the package in it."""
        listing = self.run("sh", "-c", "for p in /proc/[0-9]*; do readlink $p/exe; done; true").stdout
        return [line for line in listing.splitlines() if line.startswith("/usr/bin/waysfs")]

    def close(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait(30)
        shutil.rmtree(self.directory)
