"""Processes and mounts of a run: started, looked at through /proc, and ended by their pid."""

import os
import re
import signal
import subprocess
import time

MIB = 1 << 20
_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something that the benchmark needs did not work."""


def start(arguments, environment, log, directory="/"):
    """Starts a program which the kernel ends when this one ends, however that comes.

    Ctrl-C on the terminal does not reach it: it is stopped in its turn.
    """
    with open(log, "ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )


def stop(process, seconds=15):
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(stop_signal)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass


def wait_until(condition, seconds, what, interval=0.02, process=None, log=None):
    """Waits until the condition holds, while the process lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > deadline:
            reason = "it has ended" if ended else f"not within {seconds} s"
            raise Failed(f"{what}: {reason}\n{tail(log) if log else ''}".rstrip())
        time.sleep(interval)


def tail(path, lines=20):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return ""


def is_mounted(directory):
    """Looked up in the kernel's table: to ask the mount itself would wait for a daemon that hangs."""
    with open("/proc/self/mountinfo") as table:
        points = {re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in table}
    return str(directory) in points


def unmount(directory):
    """Unmounts, lazily when a plain unmount does not work."""
    for command in (["fusermount3", "-u"], ["fusermount3", "-u", "-z"], ["umount", "-l"]):
        if not is_mounted(directory):
            return
        subprocess.run([*command, str(directory)], capture_output=True, check=False)


def cpu_seconds(pid):
    """What a process and those of its children that have ended have used, in user and kernel mode."""
    with open(f"/proc/{pid}/stat") as file:
        # The second field is the name, which may hold anything.
        fields = file.read().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def memory(pid, field):
    """A field of /proc/PID/status, in bytes: VmRSS is what is resident, VmHWM the most that was."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    raise Failed(f"/proc/{pid}/status has no {field}")
