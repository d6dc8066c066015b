"""Kinds of mounts: read-only, of a prefix, and what every mount says of itself."""

import os

import pytest
from support.commands import run
from support.errors import fails


def test_read_only(bucket, mount):
    bucket.put("file", b"x")
    bucket.put("directory/file", b"y")
    path = mount(bucket, "--read-only").path
    for change in (
        lambda: (path / "new").write_text("x"),
        lambda: open(path / "file", "r+b").close(),
        lambda: os.truncate(path / "file", 0),
        lambda: (path / "file").unlink(),
        lambda: (path / "directory").rmdir(),
        lambda: (path / "new").mkdir(),
        lambda: (path / "new").symlink_to("x"),
        lambda: os.rename(path / "file", path / "new"),
        lambda: os.chmod(path / "file", 0o600),
        lambda: os.utime(path / "file"),
    ):
        with fails("EROFS"):
            change()
    assert not os.access(path / "file", os.W_OK) and os.access(path / "file", os.R_OK)
    assert (path / "file").read_bytes() == b"x" and (path / "directory" / "file").read_bytes() == b"y"
    assert sorted(bucket.keys()) == ["directory/file", "file"] and bucket.get("file") == b"x"


def test_read_only_as_fstab_says_it(bucket, mount):
    path = mount(bucket, "-o", "ro,noatime,_netdev").path
    with fails("EROFS"):
        (path / "new").mkdir()
    options = run("findmnt", "-no", "OPTIONS,FSTYPE,SOURCE", path).stdout
    assert "ro," in options and "fuse.waysfs" in options and bucket.name in options


@pytest.mark.parametrize("written", ["a/b", "a/b/"])
def test_a_prefix_sees_only_itself(written, bucket, mount):
    for key in ("outside", "a/other", "a/b2/x", "a/b/one", "a/b/deep/two", "a/bc"):
        bucket.put(key, key.encode())
    mounted = mount(bucket, prefix=written)
    assert sorted(os.listdir(mounted.path)) == ["deep", "one"]
    assert (mounted.path / "deep" / "two").read_bytes() == b"a/b/deep/two"
    assert not (mounted.path / "outside").exists() and not (mounted.path / ".." / "other").exists()
    (mounted.path / "new").write_text("new")
    os.rename(mounted.path / "deep", mounted.path / "renamed")
    assert bucket.get("a/b/new") == b"new" and bucket.get("a/b/renamed/two") == b"a/b/deep/two"
    (mounted.path / "one").unlink()
    (mounted.path / "new").unlink()
    mounted.restart()
    assert os.listdir(mounted.path) == ["renamed"]
    assert {"outside", "a/other", "a/b2/x", "a/bc"} <= set(bucket.keys())


def test_a_prefix_that_is_not_there_yet(bucket, mount):
    mounted = mount(bucket, prefix="new/place")
    assert os.listdir(mounted.path) == []
    (mounted.path / "file").write_text("x")
    assert bucket.get("new/place/file") == b"x"


def test_a_prefix_with_odd_characters(bucket, mount):
    mounted = mount(bucket, prefix="photos of 2024/é & ü+%20")
    (mounted.path / "file").write_text("x")
    prefix = "photos of 2024/é & ü+%20/"
    # The directory that is mounted has a marker, which says that its files carry attributes.
    assert bucket.keys() == [prefix, f"{prefix}file"]
    mounted.restart()
    assert (mounted.path / "file").read_text() == "x"


def test_a_symbolic_link_to_the_mount_point(bucket, mount, waysfs, tmp_path):
    (tmp_path / "real" / "mount").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    mounted = mount(bucket, point=tmp_path / "real" / "mount", start=False)
    mounted.path = tmp_path / "link" / "mount"
    waysfs.run(*mounted.arguments())
    assert os.path.ismount(tmp_path / "real" / "mount")
    waysfs.run("umount", tmp_path / "link" / "mount")
    assert not os.path.ismount(tmp_path / "real" / "mount")


def test_a_mount_point_with_odd_characters(bucket, mount, tmp_path):
    mounted = mount(bucket, point=tmp_path / "mount with space, é and\ttab")
    (mounted.path / "file").write_text("x")
    assert bucket.keys() == ["file"]
    mounted.unmount()


def test_numbers_about_the_filesystem(mounted):
    numbers = os.statvfs(mounted)
    assert numbers.f_namemax == 255
    assert numbers.f_bavail * numbers.f_frsize > 1 << 40
    assert numbers.f_ffree > 1 << 20
    line = run("df", "-P", mounted).stdout.splitlines()[-1]
    assert line.endswith(str(mounted)) and line.startswith("waysfs:")


def test_the_top_directory(bucket, mounted):
    status = os.stat(mounted)
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert os.path.ismount(mounted)
    assert os.listdir(mounted) == []
    with fails("EBUSY", "ENOTEMPTY"):
        os.rmdir(mounted)


def test_access(bucket, mounted):
    bucket.put("file", b"x")
    (mounted / "script").write_text("#!/bin/sh\necho ran\n")
    assert not os.access(mounted / "script", os.X_OK)
    os.chmod(mounted / "script", 0o755)
    assert os.access(mounted / "script", os.X_OK) and os.access(mounted / "file", os.R_OK | os.W_OK)
    assert not os.access(mounted / "absent", os.F_OK)
    assert run(mounted / "script").stdout == "ran\n"


def test_everything_is_closed_to_other_users_unless_allowed(bucket, mount):
    """Only root can become somebody else to see it."""
    if os.getuid() != 0:
        assert "allow_other" not in run("findmnt", "-no", "OPTIONS", mount(bucket).path).stdout
        return
    bucket.put("public", b"x", Metadata={"mode": str(0o100644)})
    bucket.put("private", b"x", Metadata={"mode": str(0o100600), "uid": "0"})
    closed, shared = mount(bucket), mount(bucket, "--allow-other")
    for path in (closed.path, shared.path):
        for parent in path.parents:
            # Temporary directories are their maker's alone; here others must get to the mount.
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    assert run("cat", closed.path / "public", check=False, **nobody).returncode != 0
    assert run("cat", shared.path / "public", **nobody).stdout == "x"
    assert run("cat", shared.path / "private", check=False, **nobody).returncode != 0
