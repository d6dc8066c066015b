"""git works in a mount."""

import os

import pytest
from support.commands import run

# Settings of the person who runs the tests must not count.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A. Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "A. Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
}


def git(directory, *arguments):
    return run("git", "-c", "safe.directory=*", "-C", directory, *arguments, env=ENVIRONMENT).stdout


@pytest.fixture
def origin(tmp_path):
    """A repository with some history, a link, a script and a branch."""
    path = tmp_path / "origin"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for commit in range(10):
        for number in range(6):
            file = path / f"part{number % 3}" / f"file{number}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{commit} {number}\n" * (100 * number + 1))
        if commit == 5:
            (path / "link").symlink_to("part0/file0.txt")
            (path / "run.sh").write_text("#!/bin/sh\n")
            (path / "run.sh").chmod(0o755)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", f"commit {commit}")
    git(path, "branch", "side", "HEAD~3")
    return path


@pytest.mark.time_limit(120)
def test_clone_fsck_status_and_commit(origin, bucket, mount):
    mounted = mount(bucket)
    clone = mounted.path / "clone"
    git(mounted.path, "clone", "-q", "--no-hardlinks", origin, clone)
    assert git(clone, "status", "--porcelain") == ""
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "rev-parse", "HEAD") == git(origin, "rev-parse", "HEAD")

    mounted.restart()
    assert git(clone, "status", "--porcelain") == ""
    (clone / "new.txt").write_text("made in the mount\n")
    (clone / "part0" / "file0.txt").unlink()
    git(clone, "mv", "part1/file1.txt", "part1/renamed.txt")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "from the mount")
    git(clone, "checkout", "-q", "side")
    git(clone, "checkout", "-q", "main")
    git(clone, "gc", "-q")
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    git(clone, "push", "-q", "origin", "main:from-the-mount")
    assert git(origin, "rev-parse", "from-the-mount") == git(clone, "rev-parse", "HEAD")

    mounted.restart()
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    assert (clone / "new.txt").read_text() == "made in the mount\n"
    assert os.readlink(clone / "link") == "part0/file0.txt"
    assert os.access(clone / "run.sh", os.X_OK)
