"""A machine of a test's own that systemd boots as its first process: this one's files, and what the test makes of them."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support.commands import eventually, run
from support.machine import program

# What the machine has on its disk, for as long as this process lives. Services of this machine are left out.
DISK = r"""
set -e
cd "$1"
mount -t tmpfs -o mode=0755 waysfs-test changes
mkdir changes/files changes/work
mount -t overlay -o "lowerdir=/,upperdir=changes/files,workdir=changes/work" overlay root
cd root
rm -rf etc/systemd/system etc/systemd/user etc/waysfs var/cache/waysfs mnt
mkdir -p etc/systemd/system mnt
for unit in dbus.service dbus.socket systemd-logind.service systemd-timesyncd.service; do
  ln -s /dev/null "etc/systemd/system/$unit"
done
mkdir etc/systemd/system/multi-user.target.wants
ln -s /lib/systemd/system/remote-fs.target etc/systemd/system/multi-user.target.wants
: >etc/fstab
echo ready
exec cat
"""
# systemd moves whatever shares its control group: it gets one of its own, and sees no other. It gives orders to the
# kernel, too, which are not for this machine: most of /proc/sys and /sys cannot be written.
BOOT = r"""
set -e
cd "$1"
mount -t cgroup2 cgroup sys || { echo refused; exit 0; }
group=$(sed -n 's/^0:://p' /proc/self/cgroup)/waysfs-test-$$
mkdir "sys$group" || { echo refused; exit 0; }
echo $$ >"sys$group/cgroup.procs" || { rmdir "sys$group"; echo refused; exit 0; }
umount sys
echo "$group"
exec unshare --cgroup --pid --fork --kill-child --uts --ipc sh -ec '
  mount -t proc proc proc
  mount --bind proc/sys proc/sys
  mount -o remount,bind,ro proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup sys/fs/cgroup
  mount -t tmpfs -o mode=0755 waysfs-test dev
  for node in null zero full random urandom tty; do
    : >dev/$node
    mount --bind /dev/$node dev/$node
  done
  mknod -m 0666 dev/fuse c 10 229
  if [ -n "$1" ]; then mknod dev/autofs c 10 "$1"; fi
  ln -s /proc/self/fd dev/fd
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
  mount -t tmpfs waysfs-test dev/shm
  mount -t tmpfs -o mode=0755 waysfs-test run
  mount -t tmpfs waysfs-test tmp
  # Where systemd boots a machine it does this itself, and in a container it expects it.
  mount --make-rshared .
  exec chroot . env -i container=waysfs-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
' sh "$2"
"""


def autofs_number():
    """The minor number of /dev/autofs; empty where the kernel has none."""
    for line in Path("/proc/misc").read_text().splitlines():
        number, name = line.split()
        if name == "autofs":
            return number
    return ""


class BootedMachine:
    """`boot` starts it, `reboot` does so again, and `run` runs programs in it; it has the network of this machine."""

    def __init__(self, directory):
        program("/lib/systemd/systemd", "systemd")
        self.directory = directory / "machine"
        for path in [self.directory, self.directory / "root", self.directory / "changes"]:
            path.mkdir()
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", DISK, "sh", self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.boots, self.first, self.group = None, None, None
        # What is said while it is made; systemd itself logs to its journal.
        self.log = (self.directory / "log").open("w")
        if self.holder.stdout.readline() != "ready\n":
            self.holder.kill()
            raise AssertionError(f"the machine's disk cannot be made: {self.holder.communicate()[1]}")

    def boot(self):
        """Starts it, and returns when everything is started that it starts by itself. The test is skipped where nobody
        may make control groups, as in many containers."""
        inside = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "unshare", "--mount", "--propagation", "private"]
        self.boots = subprocess.Popen(
            [*inside, "sh", "-c", BOOT, "sh", self.directory / "root", autofs_number()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        group = self.boots.stdout.readline().strip()
        if not group.endswith(f"/waysfs-test-{self.boots.pid}"):
            self.boots.wait(60)
            self.boots.stdout.close()
            self.boots = None
            if group == "refused":
                pytest.skip("systemd does not run here: it gets no control group of its own")
            raise AssertionError(f"the machine does not boot: {(self.directory / 'log').read_text()}")
        self.group = group
        self.first = eventually(self._first_process, "systemd is the first process")
        eventually(lambda: self.path("/run/systemd/private").exists(), "systemd listens")
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def _first_process(self):
        assert self.boots.poll() is None, "the machine does not boot"
        for pid in children(self.boots.pid):
            for child in [pid, *children(pid)]:
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{child}/exe").endswith("/systemd"):
                        return child
        return None

    def shut_down(self, order="poweroff", timeout=120):
        """Ends it in order."""
        # The answer may be cut off by what was ordered.
        self.run("systemctl", order, check=False)
        self.wait(timeout)

    def wait(self, timeout=120):
        """Waits until it has ended, as it was told to."""
        self.boots.wait(timeout)
        self._forget()

    def reboot(self):
        self.shut_down("reboot")
        self.boot()

    def pull_the_plug(self):
        """Ends every process of it at once."""
        os.kill(self.first, signal.SIGKILL)
        self.wait()

    def _forget(self):
        self.boots.stdout.close()
        group, self.boots, self.first, self.group = self.group, None, None, None
        groups = self.directory / "groups"
        groups.mkdir()
        run("mount", "-t", "cgroup2", "cgroup", groups)
        try:
            for directory, _, _ in os.walk(groups / group.lstrip("/"), topdown=False):
                eventually(lambda: removed(directory), f"nothing is left in {directory}")
        finally:
            run("umount", groups)
            groups.rmdir()

    def run(self, *arguments, environment=None, **options):
        """Runs a program in it; nothing of this machine's environment is there."""
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C", **(environment or {})}
        enter = ["nsenter", "--target", str(self.first), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"]
        return run(*enter, *arguments, env=variables, **options)

    def path(self, path):
        """How a path in it is reached from here while it runs; links of it are not to be followed."""
        return Path(f"/proc/{self.first}/root{path}")

    def disk(self, path):
        """How a file on its disk is reached, whether it runs or not."""
        return Path(f"/proc/{self.holder.pid}/root{self.directory}/root{path}")

    def write(self, path, text, mode=0o644):
        self.disk(path).parent.mkdir(parents=True, exist_ok=True)
        self.disk(path).write_text(text)
        self.disk(path).chmod(mode)

    def install(self, package):
        shutil.copy(package, self.disk("/package.deb"))
        self.run("dpkg", "--force-unsafe-io", "--install", "/package.deb")

    def show(self, unit, *properties):
        """Properties of a unit, as a list."""
        text = self.run("systemctl", "show", "--property", ",".join(properties), unit).stdout
        values = dict(line.split("=", 1) for line in text.splitlines())
        return [values[name] for name in properties]

    def journal(self):
        """Everything that was logged since it booted."""
        return self.run("journalctl", "--no-pager", check=False).stdout

    def mounted(self, point):
        """What findmnt(8) says of a mount of waysfs, as [source, options]; nothing when there is none."""
        shown = self.run("findmnt", "-rnt", "fuse.waysfs", "-o", "SOURCE,OPTIONS", "--mountpoint", point, check=False)
        return shown.stdout.split()

    def close(self):
        if self.boots is not None:
            os.kill(self.first or self.boots.pid, signal.SIGKILL)
            self.wait()
        for file in [self.holder.stdin, self.holder.stdout, self.holder.stderr, self.log]:
            file.close()
        self.holder.wait(30)
        shutil.rmtree(self.directory)


def children(pid):
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def removed(directory):
    """Removes a control group, in which the last processes may be ending."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
