"""A mount namespace of a test's own, in which mount(8) finds the helpers of waysfs and the machine stays as it is."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.commands import eventually, run
from support.machine import program
from support.processes import is_alive

# What the test's files are in, and what it may change: /mnt, /run, /etc and /sbin. Nobody outside sees any of it.
SETUP = r"""
set -e
mount -t tmpfs -o mode=0755 waysfs-test /mnt
mount -t tmpfs -o mode=0755 waysfs-test /run
sbin=$(readlink -f /sbin)
mkdir -p /mnt/data /mnt/.own/etc /mnt/.own/etc-work /mnt/.own/sbin /mnt/.own/sbin-work
mount -t overlay -o "lowerdir=/etc,upperdir=/mnt/.own/etc,workdir=/mnt/.own/etc-work" overlay /etc
mount -t overlay -o "lowerdir=$sbin,upperdir=/mnt/.own/sbin,workdir=/mnt/.own/sbin-work" overlay "$sbin"
: >"$sbin/waysfs"
mount --bind "$1" "$sbin/waysfs"
for name in mount.waysfs mount.fuse.waysfs umount.fuse.waysfs; do ln -sf waysfs "$sbin/$name"; done
for kept in .aws .config; do [ ! -d ~/$kept ] || mount -t tmpfs -o mode=0700 waysfs-test ~/$kept; done
mknod -m 0666 /mnt/.own/fuse c 10 229
mount --bind /mnt/.own/fuse /dev/fuse
echo user_allow_other >/etc/fuse.conf
: >/etc/fstab
echo ready
exec cat
"""
# A service manager takes /run/systemd/system for the sign that systemd has booted the machine (sd_booted(3)). It moves
# whatever shares its control group, so it gets one of its own, and sees no other.
SYSTEMD = r"""
set -e
mkdir -p /run/systemd/system /run/user/0 /mnt/home /mnt/.own/groups
mount -t cgroup2 cgroup /mnt/.own/groups
group=/mnt/.own/groups$(sed -n 's/^0:://p' /proc/self/cgroup)/waysfs-test-$$
mkdir "$group"
echo $$ >"$group/cgroup.procs"
exec unshare --cgroup sh -ec '
  mount -t tmpfs waysfs-test /sys/fs/cgroup
  mount -t cgroup2 cgroup /sys/fs/cgroup
  { read -r own && ! read -r other; } </sys/fs/cgroup/cgroup.procs
  XDG_RUNTIME_DIR=/run/user/0 HOME=/mnt/home exec /lib/systemd/systemd --user
'
"""


class MountNamespace:
    """Programs run in it with `run`; its files are below `path("/")`. The mount point /mnt/data is there."""

    # A user that every system has.
    NOBODY = 65534

    def __init__(self, waysfs):
        self.environment = {**waysfs.environment, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.environment.pop("XDG_RUNTIME_DIR", None)
        self.systemd = None
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", SETUP, "sh", waysfs.binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline() != "ready\n":
            # It may be waiting for something that does not come.
            self.process.kill()
            raise AssertionError(f"the namespace cannot be made: {self.process.communicate()[1]}")

    def command(self, *arguments, user=None):
        """What runs a program in the namespace."""
        identity = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user is not None else []
        return ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", *identity, *map(os.fspath, arguments)]

    def run(self, *arguments, user=None, environment=None, **options):
        return run(
            *self.command(*arguments, user=user), env={**self.environment, **(environment or {})}, cwd="/", **options
        )

    def start(self, *arguments, user=None, environment=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self.command(*arguments, user=user), env={**self.environment, **(environment or {})}, cwd="/", **options
        )

    def start_systemd(self):
        """A service manager of the namespace's own: systemd for a user, who is root. The test is skipped where nobody may
        make control groups, as in many containers."""
        program("/lib/systemd/systemd", "systemd")
        self.systemd = self.start("sh", "-c", SYSTEMD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        socket = self.path("/run/user/0/systemd/private")
        eventually(lambda: socket.exists() or self.systemd.poll() is not None, "systemd starts or gives up")
        if self.systemd.poll() is not None:
            pytest.skip("systemd does not run here: it gets no control group of its own")

    def systemctl(self, *arguments, **options):
        return self.run(*self.systemctl_command(*arguments), **options)

    @staticmethod
    def systemctl_command(*arguments):
        return ["env", "XDG_RUNTIME_DIR=/run/user/0", "systemctl", "--user", "--no-pager", *arguments]

    def path(self, path):
        """How a path in the namespace is reached from outside."""
        return Path(f"/proc/{self.process.pid}/root{path}")

    def write_fstab(self, *lines):
        self.path("/etc/fstab").write_text("".join(f"{line}\n" for line in lines))

    def shows(self, column, point="/mnt/data"):
        """What findmnt(8) says of a mount point; empty when nothing is mounted there."""
        return self.run("findmnt", "-no", column, "--mountpoint", point, check=False).stdout.strip()

    def processes(self):
        """Pids of what runs in the namespace."""
        own = os.readlink(f"/proc/{self.process.pid}/ns/mnt")
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/mnt") == own:
                    found.append(int(entry))
            except OSError:
                continue
        return [pid for pid in found if pid != self.process.pid and is_alive(pid)]

    def daemon(self):
        """The pid of the one process that serves a mount; one that has only started it may still be ending."""
        eventually(lambda: len(self.processes()) == 1, "one process serves the mount")
        return self.processes()[0]

    def nothing_is_left(self):
        """Nothing is mounted, and no process is there for long."""
        assert self.shows("SOURCE") == ""
        eventually(lambda: self.processes() == [], "every process ends")

    def close(self):
        """Ends everything in it; with the last process its mounts go."""
        if self.systemd is not None:
            self.systemd.terminate()
            self.systemd.wait(60)
            for group in self.path("/mnt/.own/groups").glob("**/waysfs-test-*"):
                for directory, _, _ in os.walk(group, topdown=False):
                    os.rmdir(directory)
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(20)
        eventually(lambda: not any(map(is_alive, left)), "the processes of the namespace end")
        self.process.stdout.close()
        self.process.stderr.close()
