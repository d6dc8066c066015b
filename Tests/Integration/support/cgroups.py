"""Memory control groups, where this machine lets a test make one."""

import contextlib
import errno
import os
from pathlib import Path

from support.commands import eventually


def _parents():
    """Directories in which a group that limits memory may be made, with the name of the limit's file."""
    places = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            places.append((Path("/sys/fs/cgroup/memory") / group.lstrip("/"), "memory.limit_in_bytes"))
        elif number == "0":
            # Version 2 has processes in leaves only: beside this one's group, or at the top.
            places += [((Path("/sys/fs/cgroup") / group.lstrip("/")).parent, "memory.max")]
            places += [(Path("/sys/fs/cgroup"), "memory.max")]
    return places


def _is_removed(group):
    """What was read in it may be charged to it for a moment after its last process has ended."""
    try:
        os.rmdir(group)
    except OSError as error:
        assert error.errno == errno.EBUSY, error
        return False
    return True


@contextlib.contextmanager
def memory_group(name, limit):
    """A group of that many bytes, as the command that runs a program in it; why there is none as a string."""
    refusals = []
    for parent, file in _parents():
        group = parent / name
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError as error:
            refusals.append(f"{group}: {error.strerror}")
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
        finally:
            eventually(lambda: _is_removed(group), "the group is empty")
        return
    yield "; ".join(refusals) or "no memory controller"
