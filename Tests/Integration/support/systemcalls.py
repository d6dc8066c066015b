"""What a process asks of the kernel, as strace sees it; and what a disk would have after a power failure."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.commands import TIME_LIMIT, eventually

# Everything that changes files or waits for the disk.
CALLS = (
    "openat,creat,write,writev,pwrite64,pwritev,copy_file_range,sendfile,ftruncate,fallocate,ioctl,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync"
)
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")
UNFINISHED = re.compile(r"^(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
WHOLE = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(.*?)<(\d+\.\d+)>$")


@dataclass
class Call:
    name: str
    arguments: str
    result: int
    # Behind the result: the path of a descriptor that was made.
    rest: str
    began: float
    ended: float

    @property
    def descriptor(self):
        """The path behind the first descriptor."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        return found and found[1].removesuffix(" (deleted)")

    @property
    def made(self):
        """The path behind the descriptor that was returned."""
        found = re.match(r"<([^>]*)>", self.rest)
        return found and found[1]

    @property
    def paths(self):
        """Path names among the arguments."""
        return re.findall(r'"((?:[^"\\]|\\.)*)"', self.arguments)

    @property
    def last(self):
        """The last argument as a number: where pwrite64 writes, or where ftruncate cuts."""
        return int(self.arguments.rpartition(", ")[2])


@contextlib.contextmanager
def traced(pid):
    """Follows a process and all its threads; the list that it gives has the calls afterwards, ordered by their ends."""
    calls = []
    with tempfile.NamedTemporaryFile("r") as output:
        arguments = ["strace", "-f", "-ttt", "-T", "-y", "-s", "8", "-e", f"trace={CALLS}", "-e", "signal=none"]
        tracer = subprocess.Popen(
            [*arguments, "-o", output.name, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            # Told when it has all threads.
            assert "attached" in tracer.stderr.readline()
            threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
            eventually(lambda: all(_is_traced(pid, thread) for thread in threads), "all threads are followed")
            yield calls
        finally:
            tracer.send_signal(signal.SIGINT)
            try:
                tracer.communicate(timeout=TIME_LIMIT)
            finally:
                tracer.kill()
        calls += sorted(_parsed(output.read()), key=lambda call: call.ended)


def _is_traced(pid, thread):
    try:
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    except OSError:
        return True
    return "\nTracerPid:\t0\n" not in status


def _parsed(text):
    unfinished = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if not found:
            continue
        thread, moment, words = found[1], float(found[2]), found[3]
        began = moment
        if part := UNFINISHED.match(words):
            unfinished[thread] = (moment, part[1])
            continue
        if part := RESUMED.match(words):
            began, begin = unfinished.pop(thread, (moment, f"{part[1]}("))
            words = begin + part[2]
        if whole := WHOLE.match(words):
            name, arguments, result, rest, duration = whole.groups()
            ended = began + float(duration)
            yield Call(name, arguments, int(result), rest.strip(), began, ended)


class Disk:
    """Files below a directory, of which is known what a power failure would leave of them.

    The worst that POSIX allows: bytes that were not waited for are gone, and so are names in directories that were not
    waited for. Only files are looked at that the calls name; the others are taken to have been there for long.
    """

    def __init__(self, root):
        self.root = Path(root)
        # Ranges that were written and not waited for; None: the whole file.
        self.lost = {}
        # What undoes the changes of a directory that was not waited for.
        self.undo = {}

    def replay(self, calls):
        for call in calls:
            if call.result >= 0:
                self._replay(call)

    def _is_below(self, path):
        return path is not None and Path(path).is_relative_to(self.root)

    def _replay(self, call):
        if call.name in ("fsync", "fdatasync") and self._is_below(call.descriptor):
            self.lost.pop(call.descriptor, None)
            self.undo.pop(call.descriptor, None)
        elif call.name in ("pwrite64", "ftruncate") and self._is_below(call.descriptor):
            ranges = self.lost.setdefault(call.descriptor, [])
            if ranges is not None:
                # What was before the new end of a file is not changed by cutting it.
                end = call.last + call.result if call.name == "pwrite64" else 1 << 62
                ranges.append((call.last, end))
        elif call.name in ("write", "writev", "pwritev", "copy_file_range", "fallocate", "ioctl", "sendfile"):
            # Of a copy the target comes third; it is new, and so all of it is new.
            for path in re.findall(r"\d+<([^>]*)>", call.arguments):
                if self._is_below(path) and (call.name != "copy_file_range" or path != call.descriptor):
                    self.lost[path] = None
        elif call.name == "openat" and self._is_below(call.made):
            if "O_CREAT" in call.arguments and ("O_EXCL" in call.arguments or "O_TRUNC" in call.arguments):
                self.lost[call.made] = None
                self._note(call.made, ("made", call.made))
            elif "O_CREAT" in call.arguments:
                self.lost[call.made] = None
        elif call.name.startswith("rename") and self._is_below(call.paths[-1]):
            source, target = call.paths[-2:]
            if source in self.lost:
                self.lost[target] = self.lost.pop(source)
            else:
                self.lost.pop(target, None)
            self._note(target, ("renamed", target))

    def _note(self, path, change):
        self.undo.setdefault(str(Path(path).parent), []).append(change)

    def lose(self, copy):
        """Takes away what is not safe, from a copy of the directory. Returns words for each loss."""
        losses = []
        for path, ranges in self.lost.items():
            target = copy / Path(path).relative_to(self.root)
            if not target.exists():
                continue
            if ranges is None:
                os.truncate(target, 0)
                losses.append(f"{target.name}: all")
                continue
            with open(target, "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                for start, end in ranges:
                    file.seek(start)
                    file.write(bytes(max(0, min(end, size) - start)))
            losses.append(f"{target.name}: {len(ranges)} ranges")
        for changes in self.undo.values():
            for kind, path in changes:
                target = copy / Path(path).relative_to(self.root)
                if target.exists():
                    target.unlink()
                    losses.append(f"{target.name}: its name ({kind})")
        return losses

    def after_power_failure(self, calls, to):
        """A copy of the directory as the disk would have it."""
        self.replay(calls)
        shutil.copytree(self.root, to)
        return self.lose(to)
