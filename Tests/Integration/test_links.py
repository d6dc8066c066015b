"""Symbolic links are kept as s3fs keeps them; hard links are refused."""

import os
import stat

import pytest
from support.errors import fails

TARGETS = {
    "relative": "file",
    "up": "../elsewhere/file",
    "absolute": "/etc/hostname",
    "dangling": "nowhere at all",
    "odd": "spaces, ünïcode & \n newline",
    "dots": "..",
    "long": "x/" * 2000,
    "longest": "y" * 4095,
}


def test_links_there_and_back(bucket, mount):
    mounted = mount(bucket)
    for name, target in TARGETS.items():
        (mounted.path / name).symlink_to(target)
    for _ in range(2):
        assert sorted(os.listdir(mounted.path)) == sorted(TARGETS)
        for name, target in TARGETS.items():
            assert os.readlink(mounted.path / name) == target
            status = os.lstat(mounted.path / name)
            assert stat.S_ISLNK(status.st_mode) and status.st_size == len(target.encode())
        mounted.restart()


def test_a_link_is_followed(mounted):
    (mounted / "directory").mkdir()
    (mounted / "directory" / "file").write_text("content")
    (mounted / "link").symlink_to("directory/file")
    (mounted / "to directory").symlink_to("directory")
    assert (mounted / "link").read_text() == "content"
    assert os.listdir(mounted / "to directory") == ["file"]
    (mounted / "link").write_text("through the link")
    assert (mounted / "directory" / "file").read_text() == "through the link"
    (mounted / "loop").symlink_to("loop")
    with fails("ELOOP"):
        (mounted / "loop").read_text()


def test_form_in_the_bucket(bucket, mounted):
    (mounted / "link").symlink_to("target")
    assert bucket.get("link") == b"target"
    assert stat.S_ISLNK(int(bucket.metadata("link")["mode"]))


def test_a_link_made_by_s3fs(bucket, mounted):
    mode = str(stat.S_IFLNK | 0o777)
    bucket.put("link", b"made elsewhere", Metadata={"mode": mode, "uid": "0", "gid": "0", "mtime": "1500000000"})
    assert os.readlink(mounted / "link") == "made elsewhere"
    assert os.lstat(mounted / "link").st_mtime == 1_500_000_000
    with os.scandir(mounted) as entries:
        assert [entry.is_symlink() for entry in entries] == [True]


def test_links_are_renamed_replaced_and_removed(bucket, mounted):
    (mounted / "a").symlink_to("first")
    (mounted / "b").symlink_to("second")
    os.rename(mounted / "a", mounted / "b")
    assert os.readlink(mounted / "b") == "first"
    (mounted / "file").write_text("x")
    os.rename(mounted / "file", mounted / "b")
    assert (mounted / "b").read_text() == "x" and not (mounted / "b").is_symlink()
    (mounted / "b").unlink()
    assert bucket.keys() == []


def test_links_that_cannot_be(mounted):
    (mounted / "file").write_text("x")
    with fails("EEXIST"):
        (mounted / "file").symlink_to("other")
    with fails("ENAMETOOLONG"):
        (mounted / "link").symlink_to("x" * 4096)
    with fails("EINVAL"):
        os.readlink(mounted / "file")
    with fails("EPERM"):
        os.link(mounted / "file", mounted / "hard")
    assert sorted(os.listdir(mounted)) == ["file"]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_special_files_are_refused(kind, mounted):
    with fails("EPERM", "EOPNOTSUPP"):
        os.mknod(mounted / "special", kind | 0o644)
    assert os.listdir(mounted) == []


def test_a_regular_file_by_mknod(bucket, mounted):
    os.mknod(mounted / "file", stat.S_IFREG | 0o640)
    assert stat.S_IMODE(os.stat(mounted / "file").st_mode) == 0o640
    assert bucket.get("file") == b""
