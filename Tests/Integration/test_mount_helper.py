"""mount(8), umount(8), fstab: what the system does with a bucket, in a mount namespace of the test's own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import eventually, run
from support.errors import fails
from support.faults import Hold
from support.machine import need_file_system, need_root
from support.namespaces import MountNamespace
from support.processes import is_alive, wait_until_ended
from support.servers import REGION

CONTENT = os.urandom(300_000)


@pytest.fixture
def world(waysfs):
    need_root("make a mount namespace in which mount(8) finds other helpers")
    with contextlib.closing(MountNamespace(waysfs)) as made:
        yield made


@pytest.fixture
def line(bucket):
    """A line of fstab: `line("uid=5", type="fuse.waysfs")`."""

    def make(*options, type="waysfs", endpoint=None, source=None):
        all_options = [
            "_netdev,nofail",
            f"endpoint={endpoint or bucket.server.endpoint}",
            f"region={REGION},cache_dir=/mnt/cache",
            # What is seen is to come from the bucket.
            "cache-limit=0",
            *options,
        ]
        return f"{source or bucket.name} /mnt/data {type} {','.join(all_options)} 0 0"

    return make


@pytest.mark.parametrize("type", ["waysfs", "fuse.waysfs"])
def test_a_line_of_fstab(type, world, line, bucket):
    bucket.put("old", b"old")
    world.write_fstab(line("uid=1000,umask=027,allow_other,x-systemd.automount", 'comment="a,b"', type=type))
    world.run("mount", "-a")
    assert world.shows("SOURCE,FSTYPE").split() == [f"waysfs:{bucket.name}", "fuse.waysfs"]
    shown = world.shows("OPTIONS").split(",")
    assert {"rw", "nosuid", "nodev", "allow_other"} <= set(shown)
    assert f"waysfs:{bucket.name}" in world.run("df", "/mnt/data").stdout
    old = world.path("/mnt/data/old").stat()
    assert (old.st_uid, old.st_mode & 0o777) == (1000, 0o640)
    world.path("/mnt/data/new").write_bytes(CONTENT)

    # What is mounted is not mounted again, and that is no error.
    daemon = world.daemon()
    for again in (["mount", "-a"], ["mount", "/mnt/data"]):
        assert "already mounted" in world.run(*again).stderr
    assert world.daemon() == daemon

    world.run("umount", "/mnt/data")
    assert bucket.get("new") == CONTENT and world.shows("SOURCE") == ""
    wait_until_ended(daemon)


@pytest.mark.parametrize("source", ["none", "*"])
def test_all_buckets(source, world, line, bucket):
    bucket.put("old", b"old")
    world.write_fstab(line("all", source=source))
    world.run("mount", "-a")
    assert world.shows("SOURCE,FSTYPE").split() == ["waysfs:*", "fuse.waysfs"]
    directory = world.path(f"/mnt/data/{bucket.name}")
    assert (directory / "old").read_bytes() == b"old"
    (directory / "new").write_bytes(CONTENT)
    assert "already mounted" in world.run("mount", "-a").stderr
    world.run("mount", "-o", "remount,ro", "/mnt/data")
    with fails("EROFS"):
        (directory / "new").unlink()
    daemon = world.daemon()
    world.run("umount", "/mnt/data")
    wait_until_ended(daemon)
    assert bucket.get("new") == CONTENT


def test_a_prefix_with_odd_characters(world, line, bucket):
    """fstab(5) writes a space as \\040."""
    world.write_fstab(line(source=f"{bucket.name}:a\\040b/c,d"))
    world.run("mount", "/mnt/data")
    world.path("/mnt/data/file").write_bytes(b"x")
    assert world.shows("SOURCE") == f"waysfs:{bucket.name}/a b/c,d"
    world.run("umount", "/mnt/data")
    assert bucket.get("a b/c,d/file") == b"x"


def test_without_a_helper_for_the_type_through_mount_fuse3(world, line, bucket):
    """Where only mount.fuse3 is there for `fuse.waysfs`, it runs `waysfs BUCKET MOUNTPOINT -o ...`."""
    world.run("rm", "/sbin/mount.fuse.waysfs", "/sbin/umount.fuse.waysfs")
    world.write_fstab(line("allow_other,noexec", type="fuse.waysfs"))
    world.run("mount", "/mnt/data")
    assert world.shows("SOURCE,FSTYPE").split() == [f"waysfs:{bucket.name}", "fuse.waysfs"]
    # It adds dev and suid by itself, which nobody has asked for.
    assert {"nosuid", "nodev", "noexec"} <= set(world.shows("OPTIONS").split(","))
    world.path("/mnt/data/file").write_bytes(CONTENT)
    daemon = world.daemon()
    world.run("mount", "-o", "remount,ro", "/mnt/data")
    assert world.shows("OPTIONS").startswith("ro,")
    world.run("umount", "/mnt/data")
    wait_until_ended(daemon)
    assert bucket.get("file") == CONTENT


@pytest.mark.parametrize("through", ["mount.waysfs", "mount.fuse3"])
def test_as_another_user(through, world, line, bucket):
    """With that user's keys; those in the environment of who mounts are not for the user."""
    if through == "mount.fuse3":
        world.run("rm", "/sbin/mount.fuse.waysfs")
    world.run("chown", "nobody", "/mnt/data")
    world.run("install", "-d", "-o", "nobody", "/mnt/cache")
    type = "waysfs" if through == "mount.waysfs" else "fuse.waysfs"
    if through == "mount.waysfs":
        world.write_fstab(line("setuid=nobody", type=type))
        result = world.run("mount", "/mnt/data", check=False)
        assert result.returncode == 32 and "no credentials found" in result.stderr
    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    keys = "".join(f"{name} = {world.environment[variable]}\n" for name, variable in names.items())
    world.run("install", "-m", "0600", "-o", "nobody", "/dev/stdin", "/mnt/keys", input=f"[default]\n{keys}")
    world.write_fstab(line("setuid=nobody,allow_other,credentials_file=/mnt/keys", type=type))
    world.run("mount", "/mnt/data")
    assert f"user_id={world.NOBODY}" in world.shows("OPTIONS")
    world.path("/mnt/data/file").write_bytes(b"x")
    world.run("umount", "/mnt/data")
    assert bucket.get("file") == b"x"


def test_a_user_mounts_what_fstab_allows(world, line, bucket):
    world.run("chown", "nobody", "/mnt/data")
    world.run("install", "-d", "-o", "nobody", "/mnt/cache")
    world.write_fstab(line("noauto,user"))
    world.run("mount", "-a")
    assert world.shows("SOURCE") == ""
    world.run("mount", "/mnt/data", user=world.NOBODY)
    # mount(8) adds the last three for a user.
    assert {f"user_id={world.NOBODY}", "nosuid", "nodev", "noexec"} <= set(world.shows("OPTIONS").split(","))
    world.run("sh", "-c", "echo hello >/mnt/data/file", user=world.NOBODY)
    # The secrets in it are not for other programs of that user: what /proc shows of it is root's.
    process = f"/proc/{world.daemon()}"
    assert f"\nUid:\t{world.NOBODY}\t" in Path(f"{process}/status").read_text()
    assert os.stat(f"{process}/environ").st_uid == os.stat(f"{process}/mem").st_uid == 0
    world.run("umount", "/mnt/data", user=world.NOBODY)
    assert world.shows("SOURCE") == "" and bucket.get("file") == b"hello\n"


BAD_OPTIONS = [
    ("allow_othre", 1, "did you mean 'allow-other'?"),
    ("umask=999", 1, "-o umask: '999' is not an octal number"),
    ("cache_limit", 1, "-o cache-limit needs a value"),
    ("foreground", 1, "--foreground cannot be given with -o"),
    ("drop_privileges", 1, "setuid=USER mounts as a user"),
    ("setuid=no-such-user", 1, "there is no user 'no-such-user'"),
    ("profile=no-such-profile", 1, "no-such-profile"),
    ("endpoint=http://127.0.0.1:1", 32, "127.0.0.1:1"),
]


@pytest.mark.parametrize("options, status, message", BAD_OPTIONS)
def test_what_is_wrong_is_said(options, status, message, world, line):
    world.write_fstab(line(options))
    result = world.run("mount", "/mnt/data", check=False)
    assert result.returncode == status and message in result.stderr, result
    assert result.stderr.count("\n") == 1
    world.nothing_is_left()


def test_a_bucket_that_is_not_there(world, line):
    world.write_fstab(line(source="no-such-bucket-anywhere"))
    result = world.run("mount", "/mnt/data", check=False)
    assert result.returncode == 32 and "no-such-bucket-anywhere" in result.stderr
    world.nothing_is_left()


def test_sloppy_fake_and_verbose(world, line, bucket):
    world.write_fstab(line("no_such_option=1"))
    assert world.run("mount", "/mnt/data", check=False).returncode == 1
    result = world.run("mount", "-s", "-f", "-v", "-n", "/mnt/data")
    assert f"mounting waysfs:{bucket.name}" in result.stdout
    world.nothing_is_left()
    world.run("mount", "-s", "-n", "/mnt/data")
    assert world.shows("FSTYPE") == "fuse.waysfs"
    world.run("umount", "-n", "-v", "/mnt/data")


def test_a_server_that_does_not_answer(world, line, bucket, proxy):
    """mount(8) returns when the time is over, and nothing is left."""
    middle = proxy(bucket.server)
    hold = Hold(middle, lambda request: True)
    world.write_fstab(line("mount_timeout=1s", endpoint=middle.endpoint))
    result = world.run("mount", "/mnt/data", check=False)
    hold.drop()
    assert result.returncode == 32 and "did not answer within 1 s" in result.stderr
    world.nothing_is_left()


def test_mount_returns_only_when_the_mount_answers(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    hold = Hold(middle, lambda request: True)
    world.write_fstab(line(endpoint=middle.endpoint))
    with world.start("mount", "/mnt/data") as process:
        eventually(lambda: hold.held, "the server is asked")
        assert process.poll() is None and world.shows("SOURCE") == ""
        hold.release()
        assert process.wait(30) == 0
    assert world.shows("FSTYPE") == "fuse.waysfs" and os.listdir(world.path("/mnt/data")) == []


def test_two_at_the_same_time(world, line, bucket, proxy):
    """Such as systemd at boot and somebody's `mount -a`: the second waits for the first, and is content."""
    middle = proxy(bucket.server)
    hold = Hold(middle, lambda request: True)
    world.write_fstab(line(endpoint=middle.endpoint))
    with (
        world.start("mount", "/mnt/data", stderr=subprocess.PIPE, text=True) as first,
        world.start("mount", "/mnt/data", stderr=subprocess.PIPE, text=True) as second,
    ):
        eventually(lambda: hold.held, "the server is asked")
        hold.release()
        said = [process.communicate(timeout=60)[1] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), said
    assert sum("already mounted" in text for text in said) == 1, said
    assert world.shows("FSTYPE") == "fuse.waysfs" and len(world.processes()) == 1
    world.run("umount", "/mnt/data")


def test_mount_while_an_earlier_process_finishes_its_uploads(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    world.write_fstab(line("write_mode=writeback", endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(CONTENT)
    world.run("umount", "-l", "/mnt/data")
    eventually(lambda: hold.held, "the upload is under way")
    earlier = world.daemon()
    with world.start("mount", "/mnt/data") as process:
        eventually(lambda: len(world.processes()) > 1, "the next one is there")
        assert process.poll() is None and world.shows("SOURCE") == ""
        hold.release()
        assert process.wait(60) == 0
    assert world.path("/mnt/data/file").read_bytes() == CONTENT and world.daemon() != earlier
    world.run("umount", "/mnt/data")


def test_another_servers_bucket_of_the_same_name(world, line, bucket, proxy):
    world.write_fstab(line())
    world.run("mount", "-a")
    other = proxy(bucket.server)
    world.write_fstab(line(endpoint=other.endpoint))
    result = world.run("mount", "/mnt/data", check=False)
    assert result.returncode == 32 and f"and from {other.endpoint} is asked for" in result.stderr, result
    world.run("umount", "/mnt/data")
    world.run("mount", "/mnt/data")


def test_umount_waits_for_the_uploads(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    world.write_fstab(line("write_mode=writeback", endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(CONTENT)
    with world.start("umount", "/mnt/data") as process:
        eventually(lambda: world.shows("SOURCE") == "" and hold.held, "it is unmounted, and the upload under way")
        assert process.poll() is None
        hold.release()
        assert process.wait(30) == 0
    assert bucket.get("file") == CONTENT


def test_umount_while_the_server_is_away_says_what_is_kept(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    world.write_fstab(line("write_mode=writeback", endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(CONTENT)
    eventually(lambda: hold.held, "the upload is under way")
    hold.lose()
    result = world.run("umount", "/mnt/data", check=False)
    assert result.returncode == 64 and "1 file could not be uploaded; kept in /mnt/cache" in result.stderr
    assert world.shows("SOURCE") == ""
    middle.start()
    world.run("mount", "/mnt/data")
    eventually(lambda: bucket.head("file"), "the next mount sends it")
    assert bucket.get("file") == CONTENT


def test_umount_of_a_mount_in_use(world, line, bucket):
    world.write_fstab(line())
    world.run("mount", "/mnt/data")
    with open(world.path("/mnt/data/file"), "wb", buffering=0) as file:
        result = world.run("umount", "/mnt/data", check=False)
        assert result.returncode == 32 and "in use" in result.stderr
        file.write(CONTENT)
        world.run("umount", "-l", "/mnt/data")
        assert world.shows("SOURCE") == ""
        file.write(CONTENT)
    eventually(lambda: world.processes() == [], "the process ends with the last file")
    assert bucket.get("file") == CONTENT * 2


def test_umount_by_force_does_not_wait(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    world.write_fstab(line("write_mode=writeback", endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(CONTENT)
    eventually(lambda: hold.held, "the upload is under way")
    world.run("umount", "-f", "/mnt/data")
    assert world.shows("SOURCE") == "" and len(world.processes()) == 1
    hold.release()
    eventually(lambda: world.processes() == [], "the uploads are finished all the same")
    assert bucket.get("file") == CONTENT


def test_remount(world, line, bucket, proxy):
    middle = proxy(bucket.server)
    world.write_fstab(line("write_mode=writeback,uid=1000", endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    hold = Hold(middle)
    world.path("/mnt/data/file").write_bytes(CONTENT)
    eventually(lambda: hold.held, "the upload is under way")
    world.run("mount", "-o", "remount,ro", "/mnt/data")
    assert world.shows("OPTIONS").startswith("ro,")
    with pytest.raises(OSError, match="Read-only"):
        world.path("/mnt/data/other").write_bytes(b"")
    # What was written before is uploaded all the same.
    hold.release()
    eventually(lambda: bucket.head("file"), "the upload is finished")
    assert bucket.get("file") == CONTENT
    world.run("mount", "-o", "remount,rw,noexec", "/mnt/data")
    assert {"rw", "noexec", "nosuid"} <= set(world.shows("OPTIONS").split(","))
    world.run("mount", "-o", "remount,exec,noatime", "/mnt/data")
    shown = set(world.shows("OPTIONS").split(","))
    assert {"rw", "nosuid", "nodev", "noatime"} <= shown and "noexec" not in shown
    world.path("/mnt/data/other").write_bytes(b"")
    for change in ("uid=5", "cache_dir=/mnt/other", "no_such=1"):
        result = world.run("mount", "-o", f"remount,{change}", "/mnt/data", check=False)
        assert result.returncode == 1 and "mount it again" in result.stderr, result
    with open(world.path("/mnt/data/open"), "wb"):
        result = world.run("mount", "-o", "remount,ro", "/mnt/data", check=False)
        assert result.returncode == 32 and "open for writing" in result.stderr
    world.run("umount", "/mnt/data")


def test_remount_without_a_line_of_fstab(world, bucket):
    """mount(8) reads out of the mount table what a profile has said."""
    world.path("/etc/waysfs").mkdir(exist_ok=True)
    settings = [f"endpoint = {bucket.server.endpoint}", f"region = {REGION}", "cache-dir = /mnt/cache"]
    world.path("/etc/waysfs/config").write_text("\n".join(["[work]", *settings, "allow-other = yes", ""]))
    world.run("mount", "-t", "waysfs", "-o", "profile=work", bucket.name, "/mnt/data")
    assert "allow_other" in world.shows("OPTIONS").split(",")
    world.run("mount", "-o", "remount,ro", "/mnt/data")
    assert world.shows("OPTIONS").startswith("ro,")
    world.run("mount", "-o", "remount,rw,noatime", "/mnt/data")
    assert {"rw", "noatime"} <= set(world.shows("OPTIONS").split(","))
    world.run("umount", "/mnt/data")


def test_links_that_are_not_to_be_followed(world, line, bucket):
    bucket.put("file", CONTENT)
    world.write_fstab(line("nosymfollow"))
    world.run("mount", "/mnt/data")
    assert {"nosymfollow", "nosuid", "nodev"} <= set(world.shows("OPTIONS").split(","))
    world.path("/mnt/data/link").symlink_to("file")
    assert os.readlink(world.path("/mnt/data/link")) == "file"
    assert "symbolic links" in world.run("cat", "/mnt/data/link", check=False).stderr
    world.run("mount", "-o", "remount,ro", "/mnt/data")
    assert {"ro", "nosymfollow", "nosuid", "nodev"} <= set(world.shows("OPTIONS").split(","))
    world.run("mount", "-o", "remount,rw,symfollow", "/mnt/data")
    assert world.run("cksum", "/mnt/data/link").returncode == 0
    world.run("umount", "/mnt/data")


def test_what_was_mounted_read_only_stays_so(world, line):
    world.write_fstab(line("ro"))
    world.run("mount", "/mnt/data")
    result = world.run("mount", "-o", "remount,rw", "/mnt/data", check=False)
    assert result.returncode == 1 and "it was mounted read-only" in result.stderr
    world.run("mount", "-o", "remount,noexec", "/mnt/data")
    assert {"ro", "noexec"} <= set(world.shows("OPTIONS").split(","))


@pytest.mark.parametrize("in_use", [False, True])
def test_a_dead_mount_is_replaced(in_use, world, line, bucket):
    world.write_fstab(line())
    world.run("mount", "-a")
    world.path("/mnt/data/file").write_bytes(CONTENT)
    file = open(world.path("/mnt/data/file"), "rb") if in_use else None
    os.kill(world.daemon(), 9)
    eventually(lambda: world.processes() == [], "it dies")
    # ECONNABORTED while the kernel is still ending the calls of the process that was killed.
    said = world.run("ls", "/mnt/data", check=False).stderr
    assert "endpoint is not connected" in said or "connection abort" in said
    # What would happen is what happens.
    world.run("mount", "-f", "/mnt/data")
    world.run("mount", "/mnt/data")
    assert world.path("/mnt/data/file").read_bytes() == CONTENT
    assert world.shows("SOURCE") == f"waysfs:{bucket.name}", "one mount is left there"
    world.run("umount", "/mnt/data")
    assert world.shows("SOURCE") == ""
    if file:
        with fails("ENOTCONN"):
            file.close()


def test_what_is_not_dead_is_left_alone(world, line, bucket, proxy):
    """Neither a mount that is being served, whatever its server does, nor one of another program."""
    middle = proxy(bucket.server)
    world.write_fstab(line(endpoint=middle.endpoint))
    world.run("mount", "/mnt/data")
    middle.stop()
    other = world.run("waysfs", "mount", "other-bucket", "/mnt/data", check=False)
    assert other.returncode == 1 and "busy" in other.stderr
    assert world.shows("SOURCE") == f"waysfs:{bucket.name}" and is_alive(world.daemon())


@pytest.mark.time_limit(120)
def test_automount(world, line, bucket):
    """An automount point asks for the mount when somebody looks into it; the helper must not look itself."""
    need_file_system("autofs")
    bucket.put("file", CONTENT)
    world.write_fstab(line("noauto,x-systemd.automount,x-systemd.idle-timeout=60"))
    script = Path(__file__).parent / "support" / "automounter.py"
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with world.start(sys.executable, script, process_group=0, **options) as automounter:
        assert automounter.stdout.readline() == "ready\n"
        assert world.run("cksum", "/mnt/data/file").returncode == 0
        assert automounter.stdout.readline() == "0\n"
        assert world.path("/mnt/data/file").read_bytes() == CONTENT
        # What the idle time-out does.
        world.run("umount", "/mnt/data")
        assert world.shows("FSTYPE") == "autofs"
        world.run("ls", "/mnt/data/file")
        assert automounter.stdout.readline() == "0\n"
        world.run("umount", "/mnt/data")
        automounter.stdin.close()


def test_help_and_version(waysfs, tmp_path):
    helper = tmp_path / "mount.waysfs"
    helper.symlink_to(waysfs.binary)
    assert run(helper, "-V").stdout.startswith("waysfs ")
    assert "usage: mount.waysfs" in run(helper, "-h").stdout
    refused = run(helper, "bucket", check=False)
    assert refused.returncode == 1 and "a source and a directory are needed" in refused.stderr
