"""Servers that fail under a mount: an error or the right bytes, never wrong ones, no crash and no hang."""

import collections
import datetime
import os
import signal
import subprocess
import threading
from email.utils import format_datetime

import pytest
from support.commands import TIME_LIMIT, eventually
from support.errors import fails
from support.faults import HELD
from support.processes import is_alive, resident_kib
from support.proxy import Answer

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def between(bucket, mount, proxy):
    """A mount that reaches its server through a proxy."""
    middle = proxy(bucket.server)
    return middle, mount(bucket, endpoint=middle.endpoint)


def is_read(request):
    return request.method == "GET" and request.key != ""


def header(request, name):
    return next((value for key, value in request.headers if key.lower() == name), None)


def is_listing(request):
    return request.method == "GET" and "list-type=2" in request.query


# MARK: Bodies


@pytest.mark.parametrize("cut", [0, 1, 70_000, 1_000_000])
def test_bodies_that_are_cut_short_now_and_then(cut, bucket, between):
    middle, mounted = between
    bucket.put("file", CONTENT)
    # Of each range, whose first byte moves on when some have arrived: no request is to have bad luck too often.
    counts = collections.Counter()

    def script(request, forward):
        answer = forward()
        if is_read(request):
            last = (header(request, "range") or "").rpartition("-")[2]
            counts[last] += 1
            if counts[last] % 3 != 0:
                answer.headers.append(("Content-Length", str(len(answer.body))))
                answer.cut = min(cut, len(answer.body) - 1)
        return answer

    middle.script = script
    assert (mounted.path / "file").read_bytes() == CONTENT
    assert counts.total() >= 2


def test_bodies_that_are_always_cut_short(bucket, between):
    """At last an error; and when the server is well again, so is the file."""
    middle, mounted = between
    bucket.put("file", CONTENT)

    def script(request, forward):
        answer = forward()
        if is_read(request):
            answer.headers.append(("Content-Length", str(len(answer.body))))
            answer.cut = 0
        return answer

    middle.script = script
    with fails("EIO", "ETIMEDOUT"):
        (mounted.path / "file").read_bytes()
    middle.script = lambda request, forward: forward()
    assert (mounted.path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["shorter", "longer", "whole"])
def test_bodies_that_are_not_what_was_asked_for(change, bucket, between):
    """A proxy that mends the length after cutting; a server that ignores the range."""
    middle, mounted = between
    bucket.put("file", CONTENT)

    def script(request, forward):
        answer = forward()
        if is_read(request):
            if change == "shorter":
                answer.body = answer.body[:-1000]
            elif change == "longer":
                answer.body += b"x" * 1000
            else:
                answer = Answer(200, [item for item in answer.headers if item[0] != "Content-Range"], CONTENT)
        return answer

    middle.script = script
    try:
        assert (mounted.path / "file").read_bytes() == CONTENT
    except OSError:
        pass
    assert is_alive(mounted.pid)


def test_another_version_than_asked_for(bucket, mount, proxy):
    """A server that ignores If-Match gives bytes of a version nobody asked for; the tag of the answer tells."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--metadata-ttl", "1h", endpoint=middle.endpoint)
    bucket.put("file", CONTENT)
    assert os.stat(mounted.path / "file").st_size == len(CONTENT)
    bucket.put("file", bytes(len(CONTENT)))

    def script(request, forward):
        if not is_read(request):
            return forward()
        object = bucket.client.get_object(Bucket=bucket.name, Key="file")
        moment = object["LastModified"].astimezone(datetime.UTC)
        tags = [("ETag", object["ETag"]), ("Last-Modified", format_datetime(moment, usegmt=True))]
        body = object["Body"].read()
        wanted = header(request, "range")
        if wanted is None:
            return Answer(200, tags, body)
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        last = min(last, len(body) - 1)
        tags.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
        return Answer(206, tags, body[first : last + 1])

    middle.script = script
    with fails("ESTALE", "EIO"):
        (mounted.path / "file").read_bytes()
    assert (mounted.path / "file").read_bytes() == bytes(len(CONTENT))


# MARK: Listings


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        b"<ListBucketResult><Contents><Key>a</Key>",
        b"\x00\xff\xfe" * 1000,
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
        b"<a>" * 100_000,
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ],
    ids=["empty", "html", "cut", "binary", "entities", "deep", "no token"],
)
def test_listings_that_make_no_sense(body, bucket, between):
    """An error, and not an empty directory: rsync --delete would believe that."""
    middle, mounted = between
    bucket.put("file", b"x")

    def script(request, forward):
        if is_listing(request):
            return Answer(200, [("Content-Type", "application/xml")], body)
        return forward()

    middle.script = script
    with fails("EIO"):
        os.listdir(mounted.path)
    middle.script = lambda request, forward: forward()
    assert os.listdir(mounted.path) == ["file"]


def test_a_listing_that_never_ends(between):
    """Each page promises one more and is the same as before."""
    middle, mounted = between
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>"
        b"<Contents><Key>a</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        b"<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    middle.script = lambda request, forward: Answer(200, [], page) if is_listing(request) else forward()
    with fails("EIO"):
        os.listdir(mounted.path)
    assert is_alive(mounted.pid)


@pytest.mark.parametrize("kind", ["many entries", "one text"])
def test_a_listing_of_100_mib(kind, between):
    middle, mounted = between
    before = resident_kib(mounted.pid)
    head, tail = b"<ListBucketResult><IsTruncated>false</IsTruncated>", b"</ListBucketResult>"
    if kind == "one text":
        head, tail = head + b"<Name>", b"</Name>" + tail
    entry = b"<Contents><Key>%s</Key><Size>1</Size></Contents>" % (b"k" * 900)
    piece = (b"x" if kind == "one text" else entry) * 1_000
    count = (100 << 20) // len(piece)

    def script(request, forward):
        if not is_listing(request):
            return forward()
        length = len(head) + len(piece) * count + len(tail)
        return Answer(200, [("Content-Length", str(length))], pieces=(one for one in [head, *[piece] * count, tail]))

    middle.script = script
    with fails("EIO"):
        os.listdir(mounted.path)
    assert is_alive(mounted.pid)
    assert resident_kib(mounted.pid) - before < 64 << 10
    middle.script = lambda request, forward: forward()
    assert os.listdir(mounted.path) == []


# MARK: Errors and silence


def test_errors_that_pass(bucket, between):
    """Every third request is refused for a moment: nobody notices."""
    middle, mounted = between
    count = 0

    def script(request, forward):
        nonlocal count
        count += 1
        busy = Answer(503, [("Retry-After", "0")], b"<Error><Code>SlowDown</Code></Error>")
        return busy if count % 3 == 0 else forward()

    middle.script = script
    for number in range(10):
        (mounted.path / f"file{number}").write_bytes(CONTENT[:10_000])
    assert len(os.listdir(mounted.path)) == 10
    for number in range(10):
        assert bucket.get(f"file{number}") == CONTENT[:10_000]


def test_connections_that_break(bucket, between):
    middle, mounted = between
    count = 0

    def script(request, forward):
        nonlocal count
        count += 1
        return None if count % 4 == 0 else forward()

    middle.script = script
    for number in range(10):
        (mounted.path / f"file{number}").write_bytes(CONTENT[:10_000])
        os.rename(mounted.path / f"file{number}", mounted.path / f"renamed{number}")
    middle.script = lambda request, forward: forward()
    assert sorted(bucket.keys()) == sorted(f"renamed{number}" for number in range(10))


def test_an_unreachable_object_is_not_a_missing_one(bucket, between):
    """ENOENT would make a program write a new, empty file in its place."""
    middle, mounted = between
    bucket.put("directory/file", b"x")
    middle.script = lambda request, forward: Answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
    with fails("EACCES"):
        os.stat(mounted.path / "directory" / "file")
    middle.script = lambda request, forward: Answer(500, [], b"")
    with fails("EIO", "ETIMEDOUT", "EBUSY"):
        os.stat(mounted.path / "directory")
    with fails("EIO", "ETIMEDOUT", "EBUSY"):
        (mounted.path / "new").write_bytes(b"x")
    middle.script = lambda request, forward: forward()
    assert (mounted.path / "directory" / "file").read_bytes() == b"x"


def test_success_with_an_error_inside(bucket, between):
    """S3 may answer a completion or copy with 200 and an error as body: the file must not count as stored."""
    middle, mounted = between

    def script(request, forward):
        if request.method == "POST" and "uploadId=" in request.query:
            return Answer(200, [], b'<?xml version="1.0"?><Error><Code>InternalError</Code></Error>')
        return forward()

    middle.script = script
    with fails("EIO"), open(mounted.path / "large", "wb") as file:
        for _ in range(6):
            file.write(CONTENT)
    assert bucket.head("large") is None
    assert mounted.unsent() != []
    middle.script = lambda request, forward: forward()
    mounted.unmount()
    assert bucket.get("large") == CONTENT * 6
    assert mounted.unsent() == []


@pytest.fixture
def held(bucket, between):
    """A program that reads a file whose bytes do not come before `release` is called."""
    middle, mounted = between
    bucket.put("slow", CONTENT)
    released = threading.Event()

    def script(request, forward):
        if request.key == "slow" and is_read(request):
            released.wait(HELD)
        return forward()

    middle.script = script
    with subprocess.Popen(["cat", mounted.path / "slow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        eventually(lambda: any(is_read(request) for request in middle.requests), "the read is sent")
        try:
            yield program, released.set
        finally:
            released.set()
            program.kill()


def test_a_slow_server_does_not_hinder_other_files(bucket, between, held):
    middle, mounted = between
    program, release = held
    bucket.put("quick", b"quick")
    assert (mounted.path / "quick").read_bytes() == b"quick"
    assert sorted(os.listdir(mounted.path)) == ["quick", "slow"]
    (mounted.path / "new").write_bytes(CONTENT)
    os.unlink(mounted.path / "new")
    assert program.poll() is None
    release()
    assert program.communicate(timeout=TIME_LIMIT) == (CONTENT, b"")


def test_a_waiting_read_can_be_interrupted(held):
    """Ctrl-C ends a program that waits for a server that does not answer."""
    program, _ = held
    program.send_signal(signal.SIGINT)
    assert program.wait(TIME_LIMIT) == -signal.SIGINT
