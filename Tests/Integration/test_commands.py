"""The commands around an account: buckets, credentials, doctor and config, as people and scripts see them."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from support.commands import TIME_LIMIT
from support.proxy import unused_endpoint
from support.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """One for all tests here: none of them changes keys, and each uses names of its own."""
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.stop()


@pytest.fixture
def command(sandbox, waysfs, tmp_path):
    """Runs a command with nothing but the API key: `command("buckets", "list")`."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments, status=0, environment=None):
        variables = {**sandbox.environment, "HOME": str(home), **(environment or {})}
        result = waysfs.run(*arguments, environment=variables, check=False)
        assert result.returncode == status, result.stdout + result.stderr
        # No colour, no progress, nothing that only a terminal understands.
        assert "\x1b" not in result.stdout + result.stderr and "\r" not in result.stdout + result.stderr
        for secret in sandbox.secrets():
            assert secret not in result.stderr
        return result

    run.home = home
    return run


def on_a_terminal(arguments, environment, typed):
    """Runs a program on a terminal of its own and types a line when it asks; its exit status and what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(arguments[0], list(map(str, arguments)), environment)
    shown = b""
    deadline = time.monotonic() + TIME_LIMIT
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
        if typed is not None and b"Type the name" in shown:
            os.write(terminal, typed.encode() + b"\n")
            typed = None
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_the_life_of_a_bucket(sandbox, command, waysfs):
    made = command("buckets", "create", "holiday-photos", "--tier", "enterprise", "--region", "no-oslo-1")
    assert made.stdout == f"Created holiday-photos in no-oslo-1 at {sandbox.endpoint}.\n"
    sandbox.s3.put_object(Bucket="holiday-photos", Key="a", Body=b"x" * 5_000_000)
    lines = command("buckets", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "REGION", "CREATED", "OBJECTS", "SIZE", "PUBLIC"]
    row = next(line for line in lines if line.startswith("holiday-photos"))
    assert re.fullmatch(r"holiday-photos +no-oslo-1 +\S+ +1 +4\.7 MiB +no", row)
    listed = json.loads(command("buckets", "list", "--json").stdout)
    assert [bucket["name"] for bucket in listed] == ["first-bucket", "holiday-photos", "second-bucket"]
    assert listed[1]["size_bytes"] == 5_000_000 and listed[1]["object_count"] == 1 and listed[1]["is_public"] is False
    info = command("buckets", "info", "holiday-photos").stdout
    assert "Size     4.7 MiB (5000000 bytes)\n" in info and "Objects  1\n" in info
    assert json.loads(command("buckets", "info", "holiday-photos", "--json").stdout) == listed[1]

    full = command("buckets", "delete", "holiday-photos", "--yes", status=1)
    assert "The bucket is not empty" in full.stderr
    sandbox.s3.delete_object(Bucket="holiday-photos", Key="a")
    nobody = command("buckets", "delete", "holiday-photos", status=1)
    assert "burnt" not in nobody.stderr and "--yes" in nobody.stderr and nobody.stdout == ""
    variables = {**waysfs.environment, **sandbox.environment}
    arguments = [waysfs.binary, "buckets", "delete", "holiday-photos"]
    status, shown = on_a_terminal(arguments, variables, "holiday")
    assert status == 1 and "nothing is deleted" in shown and "burnt" in shown
    assert "holiday-photos" in command("buckets", "list").stdout
    status, shown = on_a_terminal(arguments, variables, "holiday-photos")
    assert status == 0 and "Deleted holiday-photos. Its name is burnt." in shown
    assert "There is no such bucket" in command("buckets", "info", "holiday-photos", status=1).stderr
    again = command("buckets", "create", "holiday-photos", status=1)
    assert "taken" in again.stderr and again.stdout == ""

    made = json.loads(command("buckets", "create", "short-lived", "--json").stdout)
    assert made["bucket_name"] == "short-lived" and made["endpoint"] == sandbox.endpoint
    assert command("buckets", "delete", "short-lived", "--yes").stdout == "Deleted short-lived. Its name is burnt.\n"
    assert "short-lived" not in command("buckets", "list").stdout


def test_a_bucket_that_was_emptied_since_its_objects_were_counted(sandbox, command, waysfs, proxy):
    """What the control plane knows of a bucket may be old: only its refusal counts."""
    sandbox.call("POST", "/v1/storage/buckets", {"bucket_name": "counted-before"})
    control = proxy()
    control.target = urlsplit(sandbox.api_url)

    def counted(request, forward):
        answer = forward()
        if request.method == "GET":
            answer.body = answer.body.replace(b'"object_count":0', b'"object_count":12')
            answer.headers = [item for item in answer.headers if item[0].lower() != "content-length"]
        return answer

    control.script = counted
    variables = {**waysfs.environment, **sandbox.environment, "WAYSCLOUD_API_URL": control.endpoint}
    arguments = [waysfs.binary, "buckets", "delete", "counted-before"]
    status, shown = on_a_terminal(arguments, variables, "counted-before")
    assert status == 0 and "It had 12 objects" in shown and "Deleted counted-before" in shown


def test_the_guide_of_the_service(sandbox, command):
    shown = command("buckets", "guide").stdout
    assert sandbox.endpoint in shown and len(shown.splitlines()) > 3


def test_output_that_nobody_gets_is_a_failure(command, waysfs, sandbox):
    for arguments in [["config"], ["config", "--json"], ["credentials"], ["buckets", "list"], ["status"], ["doctor"]]:
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [waysfs.binary, *arguments],
                env={**waysfs.environment, **sandbox.environment},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert result.returncode == 1, arguments
        assert "cannot write the output: No space left on device" in result.stderr, arguments


def test_a_command_that_is_none(command):
    for words, hint in [
        (["umont", "/mnt"], "there is no command 'umont'; did you mean 'umount'? 'waysfs --help' shows all."),
        (["buckets", "lst"], "there is no command 'lst'; did you mean 'list'? 'waysfs buckets --help' shows all."),
        (["frobnicate"], "there is no command 'frobnicate'. 'waysfs --help' shows all."),
    ]:
        assert command(*words, status=64).stderr == f"waysfs: {hint}\n"


@pytest.mark.parametrize("name", ["ab", "Photos", "a_b", "x" * 64])
def test_names_are_checked_before_anything_is_sent(name, command):
    down = {"WAYSCLOUD_API_URL": unused_endpoint()}
    for verb in ["create", "info", "delete"]:
        yes = ["--yes"] if verb == "delete" else []
        result = command("buckets", verb, name, *yes, status=64, environment=down)
        assert "3 to 63 characters" in result.stderr


def test_what_goes_wrong_has_a_status_and_a_remedy(sandbox, command):
    down = {"WAYSCLOUD_API_URL": unused_endpoint()}
    wrong = {"WAYSCLOUD_API_KEY": "no-key"}
    for environment, part in [
        (down, "Check the network"),
        (wrong, "WAYSCLOUD_API_KEY"),
        ({"WAYSCLOUD_API_KEY": ""}, "--api-key-file"),
    ]:
        for arguments in [["buckets", "list"], ["buckets", "create", "abc"], ["credentials"], ["credentials", "--export"]]:
            result = command(*arguments, status=1, environment=environment)
            assert part in result.stderr and result.stdout == "" and result.stderr.count("\n") == 1
    assert command("buckets", "list", status=64, environment={"WAYSCLOUD_API_URL": "http://example.com"}).stdout == ""
    sandbox.call("POST", "/sandbox/faults", {"status": 502, "message": "Broken.", "times": 1})
    unclear = command("buckets", "create", "perhaps", status=1)
    assert "Broken" in unclear.stderr and "waysfs buckets info perhaps" in unclear.stderr
    for arguments in [["buckets"], ["buckets", "nonsense"], ["buckets", "create"], ["doctor", "--write"],
                      ["buckets", "create", "abc", "--tier", "gold"], ["credentials", "extra"]]:  # fmt: skip
        if arguments != ["buckets"]:
            assert command(*arguments, status=64).stdout == ""


def test_credentials_for_other_programs(sandbox, command):
    access, secret = sandbox.pairs[0]
    shown = command("credentials").stdout
    assert access in shown and sandbox.endpoint in shown and "us-east-1" in shown and secret not in shown
    exported = command("credentials", "--export").stdout
    script = exported + 'echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_ENDPOINT_URL_S3 $AWS_REGION"'
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [access, secret, sandbox.endpoint, "us-east-1"]

    folder = command.home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text("[other]\naws_access_key_id = OTHER\n")
    (folder / "credentials").chmod(0o644)
    written = command("credentials", "--aws-profile", "ways")
    assert secret not in written.stdout
    for name in ("credentials", "config"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert "OTHER" in (folder / "credentials").read_text()
    # The AWS SDK reads it as it was meant.
    script = (
        "import boto3; s = boto3.Session(profile_name='ways'); c = s.client('s3'); "
        "print(s.get_credentials().access_key, s.region_name, c.meta.endpoint_url, len(c.list_buckets()['Buckets']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(command.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [access, "us-east-1", sandbox.endpoint, "2"]


def test_doctor(sandbox, command, tmp_path):
    cache = ["--cache-dir", str(tmp_path / "cache")]
    lines = command("doctor", *cache).stdout.splitlines()
    assert all(re.match(r"(ok|warning|error) +[^:]+: \S", line) for line in lines)
    subjects = [line.split(":")[0].split(None, 1)[1] for line in lines]
    for subject in ["/dev/fuse", "fusermount3", "user_allow_other", "configuration", "secret files", "cache room", "cache speed",
                    "credentials", "control plane", "storage server", "clock", "key pair"]:  # fmt: skip
        assert subject in subjects, subject
    assert not any(line.startswith("error") for line in lines)
    sandbox.s3.put_object(Bucket="first-bucket", Key="a", Body=b"x")
    lines = command("doctor", "first-bucket", "--write", *cache).stdout.splitlines()
    found = {line.split(":")[0].split(None, 1)[1]: line.split()[0] for line in lines}
    for subject in ["bucket", "reading", "writing", "conditional writes", "checksums", "multipart uploads",
                    "copies of parts"]:  # fmt: skip
        assert found[subject] == "ok", lines
    assert [entry["Key"] for entry in sandbox.s3.list_objects_v2(Bucket="first-bucket")["Contents"]] == ["a"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "arguments, environment, part",
    [
        (["no-such-bucket"], {}, "error    bucket: there is no bucket 'no-such-bucket'"),
        ([], {"WAYSCLOUD_API_KEY": "no-key"}, "error    control plane: "),
        ([], {"WAYSCLOUD_API_KEY": ""}, "error    credentials: no credentials found"),
        (["--umask", "x"], {}, "error    configuration: --umask"),
        (["--endpoint", "http://127.0.0.1:1"], {}, "error    storage server: "),
        (["--cache-dir", "/proc/cache"], {}, "error    cache "),
        (["--api-key-file", "/etc/passwd"], {"WAYSCLOUD_API_KEY": ""}, "error    credentials: the secret in /etc/passwd"),
    ],
)
def test_doctor_says_what_is_wrong(arguments, environment, part, command):
    result = command("doctor", *arguments, status=1, environment=environment)
    assert part in result.stdout, result.stdout
    line = next(line for line in result.stdout.splitlines() if part in line)
    assert line.endswith(".") or "cache" in part


def test_config_shows_where_values_come_from(command):
    folder = command.home / ".config" / "waysfs"
    folder.mkdir(parents=True)
    (folder / "config").write_text("[default]\nregion = from-file\n[work]\nmetadata-ttl = 5m\nread-only = yes\n")
    rows = json.loads(command("config", "--json", "--profile", "work", "-o", "rw", "--uid", "7").stdout)
    found = {row["name"]: (row["value"], row["from"]) for row in rows}
    assert found["region"] == ("from-file", f"region in {folder}/config [default]")
    assert found["metadata-ttl"] == ("5m", f"metadata-ttl in {folder}/config [work]")
    assert found["read-only"] == ("no", "-o rw") and found["uid"] == ("7", "--uid")
    assert found["credentials"] == ("API key", "WAYSCLOUD_API_KEY")
    assert found["endpoint"][1] == "default, unless the control plane names another"
    assert found["connections"] == ("32", "default")
    text = command("config").stdout
    assert text.splitlines()[0].split() == ["OPTION", "VALUE", "FROM"]
    (folder / "config").write_text("[default]\nregoin = x\n")
    for arguments in [["config"], ["mount", "first-bucket", command.home], ["buckets", "list"], ["recover"]]:
        result = command(*arguments, status=64)
        assert "config:2: unknown key 'regoin'; did you mean 'region'?" in result.stderr


@pytest.mark.parametrize(
    "arguments", ["buckets", "buckets list", "buckets create", "buckets info", "buckets delete", "credentials",
                  "doctor", "config", "flush", "recover", "buckets guide"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(arguments, waysfs):
    shown = waysfs.run(*arguments.split(), "--help").stdout
    assert f"EXAMPLES\n  waysfs {arguments.split()[0]}" in shown or f"waysfs {arguments} " in shown
    assert "\x1b" not in shown and max(map(len, shown.splitlines())) <= 120
