"""A clean system with nothing but what the package depends on, as `scripts/clean-root` makes it, to run things in."""

import os
import shutil
import subprocess
from pathlib import Path

from support.commands import run
from support.servers import required

SETUP = """
set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
echo ready
# As the first process of its namespace it also collects those whose parents have ended.
while read -r line; do :; done
"""


class CleanRoot:
    """A root directory in mount and process namespaces of its own: what is mounted and started in it ends with it."""

    def __init__(self, directory):
        assert os.geteuid() == 0, "this test needs root, to change the root directory"
        self.path = directory / "root"
        self.path.mkdir()
        run("tar", "--extract", "--file", required("WAYSFS_CLEAN_ROOT"), "--directory", self.path)
        run("mknod", "-m", "0666", self.path / "dev/fuse", "c", "10", "229")
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", SETUP, "setup", self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "ready\n", "the namespaces cannot be made"

    def run(self, *arguments, environment=None, **options):
        """Runs a program in it; nothing of this machine's environment is there."""
        namespaces = f"/proc/{self.holder.pid}/ns"
        inside = ["nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children", "chroot", self.path]
        variables = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LC_ALL": "C", **(environment or {})}
        return run(*inside, *arguments, env=variables, **options)

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
            return self.run("dpkg", "--install", "/package.deb", **options).stdout
        finally:
            self.file("/package.deb").unlink()

    def paths(self):
        """Everything below it that is no mount, but for what the package manager writes about packages."""
        found = set()
        for directory, directories, files in os.walk(self.path):
            here = Path("/") / Path(directory).relative_to(self.path)
            directories[:] = [name for name in directories if str(here / name) not in ("/var/lib/dpkg", "/var/log")]
            found.update(str(here / name) for name in directories + files)
        return found

    def processes(self):
        """Command lines of what runs the program of the package in it."""
        listing = self.run("sh", "-c", "for p in /proc/[0-9]*; do readlink $p/exe; done; true").stdout
        return [line for line in listing.splitlines() if line.startswith("/usr/bin/waysfs")]

    def stop(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait(30)
        shutil.rmtree(self.path)
