"""Directory trees as values, to compare one on a mount with one on a local disk."""

import hashlib
import os
import random
import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What is compared of one name; what does not count is None."""

    kind: str
    mode: int | None = None
    size: int | None = None
    modified: int | None = None
    owner: tuple | None = None
    content: str | None = None


def digest(path):
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path, times, directory_times, owners):
    status = os.lstat(path)
    owner = (status.st_uid, status.st_gid) if owners else None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry("link", None, status.st_size, status.st_mtime_ns if times else None, owner, os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry("directory", mode, None, status.st_mtime_ns if directory_times else None, owner)
    assert stat.S_ISREG(status.st_mode), f"{path} is neither file, directory nor link"
    return Entry("file", mode, status.st_size, status.st_mtime_ns if times else None, owner, digest(path))


def snapshot(root, times=False, directory_times=False, owners=False, without=()):
    """Everything below a directory, as {relative path: Entry}."""
    tree = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if os.path.relpath(os.path.join(directory, name), root) not in without]
        for name in names + files:
            path = os.path.join(directory, name)
            tree[os.path.relpath(path, root)] = _entry(path, times, directory_times, owners)
    return tree


def assert_same_trees(mounted, local, **what):
    """Fails with the differences when two trees are not the same."""
    found, expected = snapshot(mounted, **what), snapshot(local, **what)
    lines = [
        f"{name}: mounted {found.get(name)}, local {expected.get(name)}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    assert not lines, "\n".join(lines[:10]) + f"\n{len(lines)} differences in all"


def make_tree(root, seed=1, files=60):
    """A tree of what is found in real ones: nested and empty directories, files of many sizes, modes, links, times."""
    random_source = random.Random(seed)
    directories = [root, root / "docs", root / "src" / "deep" / "er", root / "empty", root / "with space" / "ünïcode"]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    directories.remove(root / "empty")
    for number in range(files):
        path = random_source.choice(directories) / f"file {number}.txt"
        path.write_bytes(random_source.randbytes(random_source.choice([0, 1, 100, 4096, 5000, 70_000])))
        path.chmod(random_source.choice([0o644, 0o600, 0o755, 0o444]))
    (root / "large.bin").write_bytes(random_source.randbytes(3_000_001))
    (root / "run.sh").write_text("#!/bin/sh\necho it runs\n")
    (root / "run.sh").chmod(0o755)
    (root / "relative").symlink_to("docs")
    (root / "docs" / "up").symlink_to("../run.sh")
    (root / "dangling").symlink_to("/nowhere/at all")
    for path in sorted(root.rglob("*")):
        moment = random_source.randrange(10**18, 1_700_000_000 * 10**9)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    return root
