"""The disk cache of reads: across mounts, crashes and damage; always the right bytes."""

import os
import random
import re
import shutil
import threading

import pytest
from support.commands import eventually, run
from support.disk import taken
from support.errors import outcome
from support.proxy import Answer

MIB = 1 << 20
SMALL = 200_000
LARGE = 9 * MIB + 12_345


@pytest.fixture
def contents():
    return {"small": random.Random(1).randbytes(SMALL), "large": random.Random(2).randbytes(LARGE)}


@pytest.fixture
def cached(bucket, contents, proxy, mount):
    """A mount with a disk cache, of a bucket with the two objects, through a proxy that counts."""
    for key, content in contents.items():
        bucket.put(key, content)
    server = proxy(bucket.server)
    made = mount(bucket, "--cache-limit", "1G", endpoint=server.endpoint, start=False)
    made.server = server
    return made.start()


def gets(mounted):
    """The GETs of objects so far."""
    return [request for request in mounted.server.requests if request.method == "GET" and request.key]


def read(mounted, contents):
    for name, content in contents.items():
        assert (mounted.path / name).read_bytes() == content


def block_files(mounted):
    """The files of the cache, the longest first. Nothing may be put in meanwhile."""
    return sorted((mounted.cache / "read").glob("??/*"), key=lambda path: -path.stat().st_size)


def finished(mounted):
    """The names of the files of the cache, without those that are being made."""
    names = [path.name for path in (mounted.cache / "read").glob("??/*")]
    return [name for name in names if re.fullmatch(r"[0-9a-f]+(\.map)?", name)]


def space(mounted):
    """How much of its disk the cache takes, in bytes."""
    return taken(lambda: (mounted.cache / "read").glob("??/*"))


def fill(mounted, contents):
    """Has everything in the cache, and nothing else remembered."""
    mounted.waysfs.run("warm", mounted.path)
    mounted.restart()
    mounted.server.requests.clear()


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x20]))


# MARK: What is kept


def test_a_warm_cache_serves_without_requests(cached, contents):
    fill(cached, contents)
    read(cached, contents)
    assert gets(cached) == []
    assert (cached.cache / "read").stat().st_mode & 0o777 == 0o700


def test_what_was_read_is_kept(cached, contents):
    read(cached, contents)
    # What was not put in for lack of time is fetched once more, and put in then.
    for _ in range(20):
        cached.restart()
        cached.server.requests.clear()
        read(cached, contents)
        if gets(cached) == []:
            return
    pytest.fail("it is fetched again and again")


def test_a_killed_mount_leaves_a_cache_that_works(cached, contents):
    cached.waysfs.run("warm", cached.path)
    cached.kill()
    run("umount", "-l", cached.path)
    cached.start()
    cached.server.requests.clear()
    read(cached, contents)
    assert gets(cached) == []


def test_what_was_uploaded_is_kept(bucket, cached):
    content = os.urandom(3 * MIB + 7)
    (cached.path / "new").write_bytes(content)
    (cached.path / "little").write_bytes(content[:1000])
    cached.wait_for_uploads()
    # The bytes of both, and a map of the larger one.
    eventually(lambda: len(finished(cached)) == 3, "it is put in")
    cached.restart()
    cached.server.requests.clear()
    assert (cached.path / "new").read_bytes() == content
    assert (cached.path / "little").read_bytes() == content[:1000]
    assert gets(cached) == []
    assert bucket.get("new") == content


def test_a_replaced_object_is_not_served_from_the_old_version(bucket, cached, contents):
    fill(cached, contents)
    contents = {name: os.urandom(len(content)) for name, content in contents.items()}
    for key, content in contents.items():
        bucket.put(key, content)
    cached.restart()
    read(cached, contents)


def test_without_a_limit_nothing_is_kept(bucket, contents, mount):
    for key, content in contents.items():
        bucket.put(key, content)
    mounted = mount(bucket)
    read(mounted, contents)
    assert not (mounted.cache / "read").exists()
    failed = mounted.waysfs.run("warm", mounted.path, check=False)
    assert failed.returncode == 1 and "no disk cache" in failed.stderr


def test_a_mount_that_is_read_only_keeps_what_it_reads(bucket, contents, proxy, mount):
    for key, content in contents.items():
        bucket.put(key, content)
    server = proxy(bucket.server)
    mounted = mount(bucket, "--cache-limit", "1G", "--read-only", endpoint=server.endpoint, start=False)
    mounted.server = server
    mounted.start()
    fill(mounted, contents)
    read(mounted, contents)
    assert gets(mounted) == []


# MARK: What goes wrong


@pytest.mark.parametrize("place", [0, 0.3, 0.9999])
def test_a_flipped_byte_gives_right_bytes(cached, contents, place):
    fill(cached, contents)
    files = block_files(cached)
    assert len(files) == 3
    for path in files:
        flip(path, int(path.stat().st_size * place))
    read(cached, contents)
    assert gets(cached)
    eventually(lambda: "damaged" in cached.log_text(), "the log says so")
    cached.restart()
    read(cached, contents)


def test_files_that_were_cut_or_removed_give_right_bytes(cached, contents):
    fill(cached, contents)
    for path in block_files(cached):
        os.truncate(path, path.stat().st_size // 2)
    read(cached, contents)
    cached.restart()
    shutil.rmtree(cached.cache / "read")
    read(cached, contents)


def test_a_cache_on_a_full_disk_gives_right_bytes(bucket, contents, mount, tmp_path):
    for key, content in contents.items():
        bucket.put(key, content)
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6m", "none", disk)
    try:
        mounted = mount(bucket, "--cache-limit", "1G", "--read-only", cache=disk / "cache")
        for _ in range(3):
            read(mounted, contents)
            mounted.restart()
        # The cache may have left less than that.
        outcome((disk / "filler").write_bytes, bytes(MIB))
        read(mounted, contents)
        failed = mounted.waysfs.run("warm", mounted.path / "large", check=False)
        assert failed.returncode == 1 and "no room" in failed.stderr
        eventually(lambda: (usage := os.statvfs(disk)).f_bavail >= usage.f_blocks * 0.04, "the cache makes room")
        mounted.unmount()
    finally:
        run("umount", "-l", disk)


def test_the_limit_holds(bucket, mount):
    content = os.urandom(3 * MIB)
    for number in range(12):
        bucket.put(f"object {number}", content)
    mounted = mount(bucket, "--cache-limit", "16MiB")
    for number in range(12):
        assert (mounted.path / f"object {number}").read_bytes() == content
        assert space(mounted) <= 16 * MIB
    mounted.waysfs.run("warm", mounted.path / "object 3")
    assert space(mounted) <= 16 * MIB


def test_two_mounts_share_a_directory(bucket, contents, mount):
    for key, content in contents.items():
        bucket.put(key, content)
    first = mount(bucket, "--cache-limit", "16MiB")
    second = mount(bucket, "--cache-limit", "16MiB", cache=first.cache)
    wrong = []

    def reader(mounted):
        for _ in range(6):
            for name, content in contents.items():
                with open(mounted.path / name, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    if file.read() != content:
                        wrong.append(name)

    threads = [threading.Thread(target=reader, args=(mounted,)) for mounted in (first, second, first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert space(first) <= 16 * MIB


# MARK: waysfs warm


def test_warm_fetches_what_is_missing_and_says_what_is_there(cached, contents):
    said = cached.waysfs.run("warm", cached.path / "large", cached.path / "small")
    assert "2 files, 9.2 MiB in the disk cache" in said.stderr
    cached.server.requests.clear()
    cached.waysfs.run("warm", cached.path)
    assert gets(cached) == []


def test_warm_says_what_it_cannot_do(cached, tmp_path):
    failed = cached.waysfs.run("warm", tmp_path, check=False)
    assert failed.returncode == 1 and "not on a waysfs mount" in failed.stderr
    failed = cached.waysfs.run("warm", cached.path / "none", check=False)
    assert failed.returncode == 1 and "No such file" in failed.stderr
    cached.server.script = lambda request, forward: (
        Answer(403) if request.method == "GET" and request.key == "large" else forward()
    )
    failed = cached.waysfs.run("warm", cached.path, check=False)
    assert failed.returncode == 1 and "1 of 2 files" in failed.stderr


def test_warm_follows_a_link_that_is_asked_for(cached, tmp_path):
    """One that it finds on its way may lead anywhere."""
    link = tmp_path / "link"
    link.symlink_to(cached.path / "large")
    (cached.path / "inside").symlink_to(link)
    said = cached.waysfs.run("warm", link, cached.path / "inside")
    assert "2 files" in said.stderr
    assert "2 files" in cached.waysfs.run("warm", cached.path).stderr


def test_warm_of_two_mounts_of_which_one_has_no_cache(cached, mount, new_bucket):
    other = new_bucket()
    other.put("file", b"x")
    bare = mount(other)
    failed = cached.waysfs.run("warm", bare.path, cached.path, check=False)
    assert failed.returncode == 1 and f"the mount that has {bare.path}/file has no disk cache" in failed.stderr
    cached.server.requests.clear()
    cached.waysfs.run("warm", cached.path)
    assert gets(cached) == [], "what could be fetched was"


def test_warm_of_a_directory_whose_listing_fails(bucket, proxy, mount):
    """What was not seen is not taken for fetched."""
    for number in range(1500):
        bucket.put(f"dir/{number:04}", b"")
    server = proxy(bucket.server)
    mounted = mount(bucket, "--cache-limit", "1G", endpoint=server.endpoint)
    server.script = lambda request, forward: (
        Answer(403) if "continuation-token" in request.query else forward()
    )
    failed = mounted.waysfs.run("warm", mounted.path / "dir", check=False)
    assert failed.returncode == 1 and "files are not wholly in the disk cache" in failed.stderr, failed.stderr


def test_a_program_reads_on_while_the_kernel_reads_by_itself(cached, contents):
    """A file that is whole in the cache and was found right may be read without us (passthrough)."""
    fill(cached, contents)
    for _ in range(3):
        read(cached, contents)
        with open(cached.path / "large", "rb") as file:
            assert file.read(10) == contents["large"][:10]
            assert os.pread(file.fileno(), 100, LARGE - 50) == contents["large"][-50:]
    assert gets(cached) == []
    changed = b"!" + contents["large"][1:]
    with open(cached.path / "large", "r+b") as file:
        file.write(b"!")
    assert (cached.path / "large").read_bytes() == changed
    cached.restart()
    assert (cached.path / "large").read_bytes() == changed
