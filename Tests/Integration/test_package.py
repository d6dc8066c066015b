"""The Debian package in a system that has nothing but what it depends on, and `make install`."""

import contextlib
import fcntl
import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.clean_root import CleanRoot, unpack
from support.commands import eventually, run
from support.faults import busy
from support.servers import REGION, required

ROOT = Path(__file__).parents[2]
TEXT = b"from the package\n"
# What the program may need of the system, besides fuse3: libfuse3, libcurl, libssl, libexpat and the C runtime.
LIBRARIES = {"libc6", "libgcc-s1", "libstdc++6", "libfuse3-3", "libcurl4", "libssl3", "libexpat1", "zlib1g"}


@pytest.fixture
def package():
    return Path(required("WAYSFS_PACKAGE"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("base") / "root")


@pytest.fixture
def clean(base, tmp_path):
    with contextlib.closing(CleanRoot(base, tmp_path)) as root:
        yield root


@pytest.fixture
def installed(clean, package):
    clean.install(package)
    return clean


def configure(root, bucket, endpoint=None):
    """Settings and keys as an administrator has them, so that a mount needs no more than its name."""
    root.write(
        "/etc/waysfs/config",
        f"[default]\nendpoint = {endpoint or bucket.server.endpoint}\nregion = {REGION}\ncredentials-file = keys\n",
    )
    id, secret = required("AWS_ACCESS_KEY_ID"), required("AWS_SECRET_ACCESS_KEY")
    root.write("/etc/waysfs/keys", f"[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n", 0o600)
    root.file("/mnt/data").mkdir(exist_ok=True)
    bucket.put("theirs", b"read")


def works(root, bucket):
    """A file is written and read through the mount, and is in the bucket."""
    root.run("sh", "-c", f"printf %s '{TEXT.decode()}' >/mnt/data/new && cat /mnt/data/new >/dev/null")
    assert bucket.get("new") == TEXT
    assert root.run("cat", "/mnt/data/theirs").stdout == "read"


def fields(package):
    """The control file as a dictionary."""
    text = run("dpkg-deb", "--field", package).stdout
    return dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))


# MARK: What is in it


def test_it_depends_on_libraries_of_the_system_only(package):
    control = fields(package)
    assert package.name == f"waysfs_{control['Version']}_{control['Architecture']}.deb"
    version = run(required("WAYSFS_BINARY"), "--version").stdout
    assert version == f"waysfs {control['Version']}\n"
    names = {re.sub(r" .*", "", name) for name in control["Depends"].split(", ")}
    # The time64 transition renamed some.
    names = {name.removesuffix("t64") for name in names}
    assert names - LIBRARIES == {"fuse3"}
    assert names >= {"libc6", "libfuse3-3", "libcurl4", "libssl3", "libexpat1"}


@pytest.mark.time_limit(300)
def test_lintian_has_nothing_to_say(package):
    result = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package, check=False, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.time_limit(300)
def test_it_is_the_same_when_it_is_built_again(package, tmp_path):
    """It does not matter when, where, and with which umask, language and time zone."""
    environment = {
        **os.environ,
        "BINARY": required("WAYSFS_BINARY"),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(tmp_path),
    }
    script = 'umask 077 && exec "$0" "$1"'
    run("sh", "-c", script, ROOT / "scripts/package-deb", tmp_path / "again", env=environment, timeout=280)
    assert (tmp_path / "again" / package.name).read_bytes() == package.read_bytes()


def test_the_configuration_it_brings_can_be_used(waysfs, tmp_path):
    """With the examples in it made into settings."""
    text = (ROOT / "packaging/config").read_text()
    config = tmp_path / "config"
    config.write_text(re.sub(r"^#(\[|\w[\w-]* = )", r"\1", text, flags=re.MULTILINE))
    rows = json.loads(waysfs.run("config", "--json", "--config", config, "--profile", "archive").stdout)
    values = {row["name"]: row["value"] for row in rows}
    assert values["region"] == "eu-central-1" and values["log-level"] == "notice"
    example = tmp_path / "credentials"
    example.write_text((ROOT / "packaging/examples/credentials").read_text())
    example.chmod(0o600)
    shown = waysfs.run("config", "--credentials-file", example).stdout
    assert re.search(rf"^credentials +key pair +.*{re.escape(str(example))}", shown, re.MULTILINE), shown


# MARK: Installing and mounting


def test_it_runs_without_a_toolchain_and_starts_nothing(clean, package):
    before = clean.paths()
    said = clean.install(package)
    assert "warning" not in said and "error" not in said
    assert clean.run("dpkg", "--verify", "waysfs").stdout == ""
    assert clean.processes() == []
    new = clean.paths() - before
    assert not [path for path in new if "swift" in path.lower()]
    # No unit is enabled, and nothing is there to be: what to mount is for the administrator to say.
    assert {path for path in new if path.startswith("/etc")} == {"/etc/waysfs", "/etc/waysfs/config"}
    libraries = clean.run("ldd", "/usr/bin/waysfs").stdout
    assert "not found" not in libraries and "swift" not in libraries

    assert clean.run("waysfs", "--version").stdout == f"waysfs {fields(package)['Version']}\n"
    assert "SUBCOMMANDS" in clean.run("waysfs", "--help").stdout
    assert clean.file("/etc/waysfs/config").stat().st_mode & 0o777 == 0o644
    assert "default" in clean.run("waysfs", "config").stdout
    for page, word in [("man1/waysfs.1", "waysfs"), ("man8/mount.waysfs.8", "fstab"), ("man5/waysfs.conf.5", "profile")]:
        assert word in gzip.open(clean.file(f"/usr/share/man/{page}.gz"), "rt").read()
    for directory in ["bash-completion/completions/waysfs", "zsh/vendor-completions/_waysfs"]:
        assert "--write-mode" in clean.file(f"/usr/share/{directory}").read_text()

    clean.run("dpkg", "--purge", "waysfs")
    assert clean.paths() == before


def test_a_bucket_is_mounted_by_command(installed, bucket):
    configure(installed, bucket)
    installed.run("waysfs", "mount", bucket.name, "/mnt/data")
    works(installed, bucket)
    installed.run("waysfs", "umount", "/mnt/data")
    assert eventually(lambda: installed.processes() == [], "the process ends")


@pytest.mark.parametrize("type", ["waysfs", "fuse.waysfs"])
def test_a_bucket_is_mounted_by_mount(installed, bucket, type):
    """From fstab, with the helpers that the package has for mount(8) and umount(8)."""
    configure(installed, bucket)
    installed.write("/etc/fstab", f"{bucket.name} /mnt/data {type} _netdev,nofail,noatime 0 0\n")
    installed.run("mount", "/mnt/data")
    shown = installed.run("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "/mnt/data").stdout.split()
    assert shown[:2] == [f"waysfs:{bucket.name}", "fuse.waysfs"] and "noatime" in shown[2].split(",")
    works(installed, bucket)
    installed.run("umount", "/mnt/data")
    assert eventually(lambda: installed.processes() == [], "the process ends")


def test_the_shell_completes(installed, bucket):
    """In bash, which is all that the package can count on; the functions are those of bash-completion."""
    configure(installed, bucket)
    installed.run("waysfs", "mount", bucket.name, "/mnt/data")

    def complete(*words):
        quoted = " ".join(f"'{word}'" for word in words)
        script = f"""
            source /usr/share/bash-completion/completions/waysfs
            COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1} COMP_LINE="{" ".join(words)}"
            COMP_POINT=${{#COMP_LINE}}
            _waysfs waysfs "{words[-1]}" "{words[-2]}"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return installed.run("bash", "-c", script).stdout.split()

    assert {"mount", "umount", "recover"} <= set(complete("waysfs", ""))
    assert complete("waysfs", "mou") == ["mount"]
    assert complete("waysfs", "mount", "--write-mode", "") == ["close", "writeback"]
    assert complete("waysfs", "mount", "--cache-d") == ["--cache-dir"]
    assert complete("waysfs", "mount", "b", "/mn") == ["/mnt"]
    assert complete("waysfs", "umount", "") == ["/mnt/data"]
    assert complete("waysfs", "log-level", "/mnt/data", "w") == ["warning"]
    installed.run("waysfs", "umount", "/mnt/data")


# MARK: Upgrading and removing


def newer(package, directory):
    """The same package with a higher version."""
    contents = directory / "newer"
    run("dpkg-deb", "--raw-extract", package, contents)
    control = contents / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {fields(package)['Version']}", "Version: 9.9"))
    made = directory / "waysfs_9.9.deb"
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", contents, made)
    return made


def test_an_upgrade_leaves_mounts_at_work(installed, package, bucket, tmp_path):
    configure(installed, bucket)
    installed.run("waysfs", "mount", bucket.name, "/mnt/data")
    settings = installed.file("/etc/waysfs/config").read_text()
    # A program that is in the middle of writing.
    writer = subprocess.Popen(
        [*installed.entering(), "sh", "-c", "exec cat >/mnt/data/open"], stdin=subprocess.PIPE
    )
    writer.stdin.write(TEXT)
    writer.stdin.flush()
    eventually(lambda: "open" in installed.run("ls", "/mnt/data").stdout, "the file is there")
    said = installed.install(newer(package, tmp_path))
    assert "go on with the old version" in said and f"mount {bucket.name} /mnt/data" in said
    assert installed.file("/etc/waysfs/config").read_text() == settings
    writer.stdin.write(TEXT)
    writer.stdin.close()
    assert writer.wait(30) == 0
    assert bucket.get("open") == 2 * TEXT
    works(installed, bucket)
    # The new program takes the old one's mount off.
    installed.run("waysfs", "umount", "/mnt/data")
    eventually(lambda: installed.processes() == [], "the process ends")


def test_it_is_not_removed_under_a_mount(installed, bucket):
    configure(installed, bucket)
    installed.run("waysfs", "mount", bucket.name, "/mnt/data")
    refused = installed.run("dpkg", "--remove", "waysfs", check=False)
    assert refused.returncode != 0
    assert "waysfs is at work and is not removed" in refused.stderr
    assert f"mount {bucket.name} /mnt/data" in refused.stderr
    works(installed, bucket)
    installed.run("waysfs", "umount", "/mnt/data")
    eventually(lambda: installed.processes() == [], "the process ends")
    installed.run("dpkg", "--remove", "waysfs")
    assert not installed.file("/usr/bin/waysfs").exists()
    # What an administrator has made stays, keys included.
    installed.run("dpkg", "--purge", "waysfs")
    assert installed.file("/etc/waysfs/keys").exists()


def test_a_purge_keeps_what_was_not_uploaded(installed, package, bucket, proxy):
    server = proxy(bucket.server)
    configure(installed, bucket, server.endpoint)
    installed.run("waysfs", "mount", bucket.name, "/mnt/data", "--write-mode", "writeback")
    server.script = lambda request, forward: busy(request, forward) if request.method == "PUT" else forward()
    installed.run("sh", "-c", f"printf %s '{TEXT.decode()}' >/mnt/data/unsent")
    kill = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */waysfs) kill -9 ${p#/proc/};; esac; done"
    installed.run("sh", "-c", kill)
    eventually(lambda: installed.processes() == [], "the process is gone")
    installed.run("umount", "/mnt/data")

    said = installed.run("dpkg", "--purge", "waysfs").stdout
    assert "files that were not uploaded" in said and "waysfs recover" in said
    installed.install(package)
    configure(installed, bucket, server.endpoint)
    items = json.loads(installed.run("waysfs", "recover", "--json").stdout)
    assert [(item["key"], item["state"]) for item in items] == [("unsent", "pending")]
    # As from the disk of another machine.
    installed.run("cp", "--archive", "/var/cache/waysfs", "/root/old")
    there = json.loads(installed.run("waysfs", "recover", "--json", "--cache-dir", "/root/old").stdout)
    assert [item["key"] for item in there] == ["unsent"]
    server.script = lambda request, forward: forward()
    installed.run("waysfs", "recover", "--upload", bucket.name)
    assert bucket.get("unsent") == TEXT
    # Now there is nothing that could not be fetched again.
    installed.run("dpkg", "--purge", "waysfs")
    assert not installed.file("/var/cache/waysfs").exists()


def test_a_purge_leaves_journals_that_are_in_use(installed, package):
    """Such as those of a waysfs that was installed from source after the package was removed."""
    journal = installed.file("/var/cache/waysfs/photos-1a2b-0")
    for folder in ["files", "recovered", "quarantine", "spare"]:
        (journal / folder).mkdir(parents=True)
    (journal / "lock").write_text("the identity\n")
    (journal / "spare/r1").write_text("was a record")
    (installed.file("/var/cache/waysfs") / "read").mkdir()
    with open(journal / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = installed.run("dpkg", "--purge", "waysfs").stdout
        assert "used by a mount" in said
        assert sorted(path.name for path in journal.iterdir()) == ["files", "lock", "quarantine", "recovered", "spare"]
        assert installed.file("/var/cache/waysfs/read").exists()
    # What is kept for a person can be found again.
    installed.install(package)
    (journal / "recovered/1.data").write_text("not closed")
    said = installed.run("dpkg", "--purge", "waysfs").stdout
    assert "files that were not uploaded" in said
    assert (journal / "lock").exists() and (journal / "files").exists() and (journal / "recovered/1.data").exists()
    (journal / "recovered/1.data").unlink()
    installed.install(package)
    installed.run("dpkg", "--purge", "waysfs")
    assert not installed.file("/var/cache/waysfs").exists()


def test_a_purge_leaves_no_enabled_units(installed):
    """What systemctl(1) makes of `enable`, where nobody may disable what is not there any more."""
    wants = installed.file("/etc/systemd/system/multi-user.target.wants")
    wants.mkdir(parents=True)
    units = {"waysfs@photos.service": "/lib/systemd/system/waysfs@.service", "other.service": "/lib/other.service"}
    for name, target in units.items():
        (wants / name).symlink_to(target)
    own = installed.file("/etc/systemd/system/waysfs@.service.d/own.conf")
    own.parent.mkdir()
    own.write_text("[Service]\n")
    installed.run("dpkg", "--remove", "waysfs")
    assert (wants / "waysfs@photos.service").is_symlink()
    installed.run("dpkg", "--purge", "waysfs")
    assert [path.name for path in wants.iterdir()] == ["other.service"] and own.exists()


# MARK: make install


def staged(directory, *targets, **variables):
    values = {"DESTDIR": directory, "BINARY": required("WAYSFS_BINARY"), **variables}
    return run("make", "-s", "-C", ROOT, *targets, *(f"{name}={value}" for name, value in values.items())).stdout


def files(directory):
    """What is there that is no directory, as paths below `directory`."""
    found = {path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()}
    return {f"/{path.relative_to(directory)}" for path in found}


@pytest.mark.parametrize("prefix", ["/usr/local", "/opt/waysfs"])
def test_make_uninstall_leaves_nothing(tmp_path, prefix):
    directory = tmp_path / "to"
    staged(directory, "install", PREFIX=prefix)
    listed = run(ROOT / "scripts/stage", "list", env={**os.environ, "PREFIX": prefix}).stdout.split("\n")
    assert files(directory) == set(filter(None, listed))
    program = directory / prefix.lstrip("/") / "bin/waysfs"
    assert run(program, "--version").stdout.startswith("waysfs ")
    helpers = [path for path in files(directory) if path.endswith("/sbin/mount.waysfs")]
    assert helpers == ["/usr/sbin/mount.waysfs" if prefix == "/usr/local" else f"{prefix}/sbin/mount.waysfs"]
    assert os.path.realpath(directory / helpers[0].lstrip("/")) == os.path.realpath(program)
    unit = (directory / prefix.lstrip("/") / "lib/systemd/system/waysfs@.service").read_text()
    assert f"ExecStart={prefix}/bin/waysfs mount" in unit and "/usr/bin/waysfs" not in unit.replace(prefix, "")
    staged(directory, "uninstall", PREFIX=prefix)
    assert files(directory) == set()


def test_a_changed_configuration_is_left_alone(tmp_path):
    config = tmp_path / "etc/waysfs/config"
    staged(tmp_path, "install")
    config.write_text("[default]\nregion = mine\n")
    assert "left as it is" in staged(tmp_path, "install")
    assert "stays" in staged(tmp_path, "uninstall")
    assert files(tmp_path) == {"/etc/waysfs/config"}
    assert config.read_text() == "[default]\nregion = mine\n"
