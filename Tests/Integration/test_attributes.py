"""Mode, owner and times are kept as object metadata in s3fs's form."""

import datetime
import os
import stat
import time

import pytest
from support.errors import fails


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_they_outlast_a_remount(server, new_bucket, mount):
    mounted = mount(new_bucket(server))
    (mounted.path / "file").write_text("x")
    (mounted.path / "directory").mkdir()
    (mounted.path / "link").symlink_to("file")
    os.chmod(mounted.path / "file", 0o741)
    os.chmod(mounted.path / "directory", 0o1750)
    moment = 1_234_567_890_123_456_789
    for name in ("file", "directory", "link"):
        if os.getuid() == 0:
            os.lchown(mounted.path / name, 1234, 5678)
        os.utime(mounted.path / name, ns=(moment, moment), follow_symlinks=False)
    for _ in range(2):
        assert mode_of(mounted.path / "file") == 0o741
        assert mode_of(mounted.path / "directory") == 0o1750
        for name in ("file", "directory", "link"):
            status = os.lstat(mounted.path / name)
            assert status.st_mtime_ns == moment and status.st_atime_ns == moment
            if os.getuid() == 0:
                assert (status.st_uid, status.st_gid) == (1234, 5678)
        assert (mounted.path / "file").read_text() == "x"
        assert os.readlink(mounted.path / "link") == "file"
        mounted.restart()


def test_form_in_the_bucket(bucket, mounted):
    (mounted / "file").write_text("x")
    os.chmod(mounted / "file", 0o640)
    os.utime(mounted / "file", ns=(10**18, 1_500_000_000_000_000_042))
    metadata = bucket.metadata("file")
    assert metadata["mode"] == str(0o100640) == "33184"
    assert metadata["uid"] == str(os.getuid()) and metadata["gid"] == str(os.getgid())
    assert metadata["mtime"] == "1500000000.000000042"
    assert float(metadata["atime"]) == 10**9
    assert abs(float(metadata["ctime"]) - time.time()) < 60


def test_they_go_with_the_first_upload(bucket, mounted):
    """A new file has its attributes at once, in one PUT, and not a moment later."""
    descriptor = os.open(mounted / "script", os.O_CREAT | os.O_WRONLY, 0o755)
    os.write(descriptor, b"#!/bin/sh\n")
    os.close(descriptor)
    assert int(bucket.metadata("script")["mode"]) & 0o7777 == 0o777 & ~current_umask() & 0o755


def current_umask():
    value = os.umask(0)
    os.umask(value)
    return value


def test_what_s3fs_wrote_is_shown(bucket, mounted):
    attributes = {"mode": "33256", "uid": "33", "gid": "44", "mtime": "1400000000.5", "ctime": "1500000000"}
    bucket.put("file", b"x", Metadata=attributes)
    bucket.put(
        "directory/",
        b"",
        ContentType="application/x-directory; mode=16832; uid=33; gid=44; mtime=1400000000",
        Metadata={"mode": "16832", "uid": "33", "gid": "44", "mtime": "1400000000"},
    )
    status = os.stat(mounted / "file")
    assert stat.S_IMODE(status.st_mode) == 0o750
    assert (status.st_uid, status.st_gid) == (33, 44)
    assert status.st_mtime_ns == 1_400_000_000_500_000_000
    status = os.stat(mounted / "directory")
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert (status.st_uid, status.st_gid, status.st_mtime) == (33, 44, 1_400_000_000)


def test_directory_metadata_of_s3fs_on_a_server_that_keeps_it(new_bucket, mount):
    bucket = new_bucket("moto")
    bucket.put(
        "directory/", b"", ContentType="application/x-directory", Metadata={"mode": "16832", "mtime": "1400000000"}
    )
    mounted = mount(bucket)
    status = os.stat(mounted.path / "directory")
    assert stat.S_IMODE(status.st_mode) == 0o700 and status.st_mtime == 1_400_000_000


def test_metadata_that_makes_no_sense_counts_as_none(bucket, mounted):
    bucket.put("file", b"x", Metadata={"mode": "rwxr-xr-x", "uid": "-7", "gid": "99999999999999", "mtime": "yesterday"})
    status = os.stat(mounted / "file")
    assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o644
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert abs(status.st_mtime - time.time()) < 300
    assert (mounted / "file").read_bytes() == b"x"


def test_objects_without_attributes_get_those_of_the_options(bucket, mount):
    bucket.put("file", b"x")
    bucket.put("directory/file", b"x")
    mounted = mount(bucket, "--uid", "1001", "--gid", "1002", "--umask", "027")
    for name, mode in (("file", 0o640), ("directory", 0o750), ("directory/file", 0o640)):
        status = os.stat(mounted.path / name)
        assert (status.st_uid, status.st_gid) == (1001, 1002)
        assert stat.S_IMODE(status.st_mode) == mode


def test_what_other_clients_stored_stays(bucket, mounted):
    """Type and metadata that mean nothing here survive chmod, a rename and a rewrite."""
    bucket.put("page", b"<html>", ContentType="text/html", Metadata={"author": "somebody", "mode": "33188"})
    os.chmod(mounted / "page", 0o600)
    os.rename(mounted / "page", mounted / "renamed")
    with open(mounted / "renamed", "ab") as file:
        file.write(b"</html>")
    head = bucket.head("renamed")
    assert bucket.get("renamed") == b"<html></html>"
    assert head["ContentType"] == "text/html"
    assert head["Metadata"]["author"] == "somebody"
    assert head["Metadata"]["mode"] == str(0o100600)


def test_headers_of_other_clients_stay(bucket, mounted):
    """As far as the server keeps them at all."""
    headers = {
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="page"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "nb",
        "Expires": datetime.datetime(2044, 12, 1, 16, tzinfo=datetime.timezone.utc),
    }
    bucket.put("page", b"bytes", **headers)
    before = {name: bucket.head("page").get(name) for name in headers}
    os.chmod(mounted / "page", 0o600)
    os.utime(mounted / "page", (1, 2))
    assert {name: bucket.head("page").get(name) for name in headers} == before
    os.rename(mounted / "page", mounted / "renamed")
    with open(mounted / "renamed", "ab") as file:
        file.write(b" and more")
    assert {name: bucket.head("renamed").get(name) for name in headers} == before
    assert bucket.head("renamed")["Metadata"]["mode"] == str(0o100600)


@pytest.mark.parametrize("server", ["moto"])
def test_the_storage_class_stays(server, new_bucket, mount):
    bucket = new_bucket(server)
    bucket.put("file", b"bytes", StorageClass="STANDARD_IA")
    bucket.put("directory/file", b"bytes", StorageClass="STANDARD_IA")
    mounted = mount(bucket)
    os.chmod(mounted.path / "file", 0o600)
    assert bucket.head("file")["StorageClass"] == "STANDARD_IA"
    os.rename(mounted.path / "file", mounted.path / "renamed")
    os.rename(mounted.path / "directory", mounted.path / "moved")
    for key in ("renamed", "moved/file"):
        assert bucket.head(key)["StorageClass"] == "STANDARD_IA"


def test_times(mounted):
    path = mounted / "file"
    path.write_text("x")
    assert abs(os.stat(path).st_mtime - time.time()) < 60
    os.utime(path, (1, 2))
    assert os.stat(path).st_mtime == 2
    with open(path, "a") as file:
        file.write("y")
    assert abs(os.stat(path).st_mtime - time.time()) < 60
    os.utime(path)
    assert abs(os.stat(path).st_mtime - time.time()) < 60


def test_chmod_of_a_large_object_does_not_change_its_bytes(bucket, mounted):
    content = os.urandom(30 << 20)
    (mounted / "large").write_bytes(content)
    os.chmod(mounted / "large", 0o600)
    assert bucket.get("large") == content
    assert bucket.metadata("large")["mode"] == str(0o100600)
    assert (mounted / "large").read_bytes() == content


def test_a_change_to_what_is_there_already_is_no_error(mounted):
    """cp -p, tar and rsync set the owner and mode that a directory has already, the top one included."""
    status = os.stat(mounted)
    os.chown(mounted, status.st_uid, status.st_gid)
    os.chmod(mounted, stat.S_IMODE(status.st_mode))


def test_the_top_of_a_bucket_keeps_no_attributes(mounted):
    """No object could carry them: refused, not pretended."""
    with fails("EOPNOTSUPP"):
        os.chmod(mounted, 0o700)
    assert mode_of(mounted) == 0o755


def test_set_user_id_goes_when_the_file_is_written(mounted):
    path = mounted / "file"
    path.write_text("x")
    os.chmod(path, 0o4755)
    assert mode_of(path) == 0o4755
    with open(path, "a") as file:
        file.write("y")
    # The kernel takes it away for writers other than root.
    assert mode_of(path) in ((0o4755, 0o755) if os.getuid() == 0 else (0o755,))
