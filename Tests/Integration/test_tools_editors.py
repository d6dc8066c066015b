"""How editors save: each way gives what it gives on a local disk."""

import os
import shutil

import pytest
from support.trees import assert_same_trees

OLD = b"the old text\n" * 500
NEW = b"the new text, which is longer\n" * 700


def write_durably(path, content, mode=0o644):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_by_rename(directory):
    """Write beside it, fsync, rename over (vim with backupcopy=no without backup, gedit, most others)."""
    write_durably(directory / ".text.swp", b"swap")
    write_durably(directory / "text~tmp", NEW)
    shutil.copymode(directory / "text", directory / "text~tmp")
    os.rename(directory / "text~tmp", directory / "text")
    os.unlink(directory / ".text.swp")


def save_with_backup_by_rename(directory):
    """Rename the old file away, write a new one in its place (vim with backupcopy=no, emacs)."""
    os.rename(directory / "text", directory / "text~")
    write_durably(directory / "text", NEW)
    os.chmod(directory / "text", 0o640)


def save_in_place(directory):
    """Copy the old file away, write over it (vim with backupcopy=yes)."""
    shutil.copy2(directory / "text", directory / "text~")
    write_durably(directory / "text", NEW)
    os.unlink(directory / "text~")


def save_probing(directory):
    """vim makes and removes a file named 4913 to see whether the directory can be written to."""
    descriptor = os.open(directory / "4913", os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_NOFOLLOW, 0o100644)
    os.fchown(descriptor, os.getuid(), os.getgid())
    os.close(descriptor)
    os.unlink(directory / "4913")
    save_with_backup_by_rename(directory)
    os.unlink(directory / "text~")


def save_through_a_link(directory):
    """A hard link as backup is refused; the editor falls back to a copy."""
    (directory / "link").symlink_to("text")
    write_durably(directory / "link", NEW)


@pytest.mark.parametrize(
    "save", [save_by_rename, save_with_backup_by_rename, save_in_place, save_probing, save_through_a_link]
)
def test_saving(save, bucket, mount, local):
    mounted = mount(bucket)
    for directory in (mounted.path, local):
        write_durably(directory / "text", OLD)
        os.chmod(directory / "text", 0o640)
        save(directory)
        save_again = directory / "text"
        assert save_again.read_bytes() == NEW
    assert_same_trees(mounted.path, local)
    assert bucket.get("text") == NEW
    mounted.restart()
    assert_same_trees(mounted.path, local)


def test_a_backup_is_another_file_than_its_successor(mounted):
    """diff, cp and mv take two names with one file number for the same file, and then do nothing."""
    (mounted / "text").write_bytes(OLD)
    os.rename(mounted / "text", mounted / "text~")
    (mounted / "text").write_bytes(NEW)
    assert os.stat(mounted / "text").st_ino != os.stat(mounted / "text~").st_ino
    assert not os.path.samefile(mounted / "text", mounted / "text~")
