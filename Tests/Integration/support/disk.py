"""How much of a disk files take while others come and go."""

import contextlib


def taken(paths):
    """Bytes of the disk that the files of `paths()` take together at one moment.

    A file may go, and another get its room, between looking at the one and at the other. So only what is there at two
    looks counts, for it was there between them.
    """
    before, after = _blocks(paths()), _blocks(paths())
    return 512 * sum(min(count, after[name]) for name, count in before.items() if name in after)


def _blocks(paths):
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[path, status.st_ino] = status.st_blocks
    return found
