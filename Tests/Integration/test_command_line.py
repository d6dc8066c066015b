"""The command line: help, version, and the background start."""

import os
import subprocess

import pytest
from support.commands import TIME_LIMIT, eventually
from support.processes import daemons, is_mounted
from support.servers import required


def test_version(waysfs):
    output = waysfs.run("--version").stdout
    assert output.startswith("waysfs ") and output.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, example",
    [
        (["--help"], "waysfs mount photos /mnt/photos"),
        (["mount", "--help"], "waysfs mount photos:2024/summer /mnt/summer --read-only"),
        (["umount", "--help"], "waysfs umount /mnt/photos"),
    ],
)
def test_help_has_examples(arguments, example, waysfs):
    output = waysfs.run(*arguments).stdout
    assert "EXAMPLES" in output and example in output
    assert max(len(line) for line in output.splitlines()) <= 120


@pytest.mark.parametrize("option", ["--endpoint", "--region", "--path-style", "--virtual-host", "--read-only",
                                    "--foreground", "--cache-dir", "--uid", "--gid", "--umask", "--allow-other",
                                    "--log-level", "-o"])  # fmt: skip
def test_help_tells_of_each_option(option, waysfs):
    assert f"{option}" in waysfs.run("mount", "--help").stdout


@pytest.mark.parametrize(
    "arguments", [["mount"], ["mount", "bucket"], ["mont", "a", "b"], ["mount", "--no-such", "a", "b"]]
)
def test_a_command_line_that_makes_no_sense(arguments, waysfs):
    result = waysfs.run(*arguments, check=False)
    assert result.returncode == 64 and result.stderr != "" and result.stdout == ""


def test_the_mount_answers_when_the_command_returns(bucket, mount, waysfs):
    bucket.put("file", b"x")
    made = mount(bucket, start=False)
    for _ in range(5):
        result = waysfs.run(*made.arguments())
        assert os.stat(made.path / "file").st_size == 1
        assert result.stdout == result.stderr == ""
        waysfs.run("umount", made.path)
        assert os.listdir(made.path) == []


def test_the_daemon_holds_nothing_of_who_started_it(bucket, mount):
    """Else a pipe from `waysfs mount` never ends, and the directory it was called in cannot be unmounted."""
    made = mount(bucket)
    assert os.readlink(f"/proc/{made.pid}/cwd") == "/"
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{made.pid}/fd/{number}") == "/dev/null"
    assert os.getsid(made.pid) != os.getsid(0)


def test_output_through_a_pipe_ends(bucket, mount, waysfs):
    made = mount(bucket, start=False)
    with subprocess.Popen(
        [waysfs.binary, *made.arguments()], env=waysfs.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        output, _ = process.communicate(timeout=TIME_LIMIT)
    assert output == b"" and process.returncode == 0 and is_mounted(made.path)


def test_settings_from_the_environment_and_a_profile(bucket, mount, waysfs, tmp_path):
    made = mount(bucket, start=False)
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    keys = waysfs.environment
    (folder / "credentials").write_text(
        f"[default]\naws_access_key_id = WRONG\naws_secret_access_key = WRONG\n\n[test]\n"
        f"aws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (folder / "credentials").chmod(0o600)
    environment = {
        "HOME": str(tmp_path / "home"),
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_PROFILE": "test",
        "AWS_ENDPOINT_URL_S3": bucket.server.endpoint,
        "AWS_REGION": "us-east-1",
    }
    cache = ["--cache-dir", str(made.cache), "--log-file", str(made.log)]
    waysfs.run("mount", bucket.name, made.path, *cache, environment=environment)
    assert os.listdir(made.path) == []
    assert is_mounted(made.path)
    waysfs.run("umount", made.path)


def test_options_as_fstab_gives_them(bucket, mount, waysfs):
    made = mount(bucket, start=False)
    options = f"endpoint={bucket.server.endpoint},region=us-east-1,path-style,cache_dir={made.cache},uid=7,umask=077,rw"
    waysfs.run("mount", bucket.name, made.path, "-o", options, "-o", "nosuid,nodev,_netdev,nofail")
    assert os.stat(made.path).st_uid == 7
    waysfs.run("umount", made.path)


def test_a_relative_mount_point(bucket, mount, waysfs):
    made = mount(bucket, start=False)
    arguments = made.arguments()
    arguments[2] = "mount"
    waysfs.run(*arguments, cwd=made.path.parent)
    assert is_mounted(made.path)
    waysfs.run("umount", "./mount/", cwd=made.path.parent)
    assert not is_mounted(made.path)
    eventually(lambda: daemons(waysfs.binary, made.path) == {}, "its process ends")


def test_an_api_key_is_enough(bucket, mount, waysfs):
    """The key pair, the endpoint and the region come from the control plane."""
    made = mount(bucket, start=False)
    environment = {
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "WAYSCLOUD_API_KEY": required("WAYSFS_TEST_API_KEY"),
        "WAYSCLOUD_API_URL": required("WAYSFS_TEST_CONTROL_PLANE"),
    }
    files = ["--cache-dir", str(made.cache), "--log-file", str(made.log)]
    waysfs.run("mount", bucket.name, made.path, *files, environment=environment)
    (made.path / "file").write_bytes(b"with the pair it was given")
    assert bucket.get("file") == b"with the pair it was given"
    waysfs.run("umount", made.path)

    wrong = {**environment, "WAYSCLOUD_API_KEY": "this-is-not-it"}
    result = waysfs.run("mount", bucket.name, made.path, *files, environment=wrong, check=False)
    assert result.returncode != 0 and not is_mounted(made.path)
    assert "WAYSCLOUD_API_KEY" in result.stderr and "this-is-not-it" not in result.stderr + made.log_text()
