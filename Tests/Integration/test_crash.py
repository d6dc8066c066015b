"""The daemon is killed while programs write: what they were promised is there after the next mount, whole.

`WAYSFS_CRASH_ROUNDS` says how often (50 in all), `WAYSFS_TEST_SEED` repeats the rounds of a run.
"""

import os
import random
import signal
import threading
import time

import pytest
from conftest import MODES
from support.commands import eventually
from support.manifests import CrashWriter, problems
from support.servers import Bucket, Server

ROUNDS = int(os.environ.get("WAYSFS_CRASH_ROUNDS") or 50)
SEED = int(os.environ.get("WAYSFS_TEST_SEED") or time.time_ns() % 1_000_000)

# Requests in whose neighbourhood it is interesting to die.
MOMENTS = {
    "PUT": lambda request: request.method == "PUT" and not request.query and not is_copy(request),
    "part": lambda request: request.method == "PUT" and "partNumber" in request.query,
    "begin": lambda request: request.method == "POST" and "uploads" in request.query,
    "complete": lambda request: request.method == "POST" and "uploadId" in request.query,
    "copy": lambda request: request.method == "PUT" and is_copy(request),
    "DELETE": lambda request: request.method == "DELETE" or "delete" in request.query,
    "HEAD": lambda request: request.method == "HEAD",
}


def is_copy(request):
    return any(name.lower() == "x-amz-copy-source" for name, _ in request.headers)


@pytest.fixture(scope="module")
def crash_bucket(clients):
    """One for all rounds, which have a prefix each."""
    server = Server.named("seaweedfs")
    made = Bucket(server, clients.setdefault(server.name, server.client()))
    yield made
    made.remove()


@pytest.fixture
def writers(tmp_path):
    """Starts writers in a mount: `writers(mounted, seed, large=True)`."""
    made = []

    def start(mounted, seed, large=False):
        name = f"w{len(made)}"
        made.append(CrashWriter(mounted.path / name, tmp_path / name, seed, large))
        made[-1].name = name
        return made[-1]

    yield start
    for writer in made:
        writer.take_away()


def kill_at_request(middle, mounted, source, moment):
    """Kills the daemon at the k-th request of a kind: before the server sees it, or between its work and the answer."""
    count = source.choice([1, 2, 3, 5, 8, 13])
    before = source.random() < 0.5
    seen, moments = [], []
    print(f"killed {'before' if before else 'after'} {moment} number {count}")

    def script(request, forward):
        if not MOMENTS[moment](request):
            return forward()
        seen.append(request)
        answer = None if before and len(seen) == count else forward()
        if len(seen) == count:
            moments.append(time.monotonic())
            os.kill(mounted.pid, signal.SIGKILL)
        return answer

    middle.script = script
    return moments


def abandoned(bucket, prefix, middle):
    """Keys of uploads that the daemon knew of, since it sent a part, and that were neither completed nor aborted."""
    known = {query for request in middle.requests if request.method == "PUT" for query in request.query.split("&")}
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    return [
        upload["Key"]
        for upload in uploads
        if upload["Key"].startswith(f"{prefix}/") and f"uploadId={upload['UploadId']}" in known
    ]


def check(bucket, prefix, writers):
    """Everything that was promised is there, and nothing else."""
    sizes = {}
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=f"{prefix}/")
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        sizes[entry["Key"].removeprefix(f"{prefix}/")] = entry["Size"]
    found = []
    for writer in writers:
        root = f"{writer.name}/"
        own = {
            name.removeprefix(root): count
            for name, count in sizes.items()
            if name.startswith(root) and name != root
        }
        found += problems(writer, own, lambda name: bucket.get(f"{prefix}/{writer.name}/{name}"))
    strange = [name for name in sizes if name.partition("/")[0] not in [writer.name for writer in writers]]
    found += [f"{name} was written by nobody" for name in strange if name]
    return found


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("number", range(4))
def test_programs_write_and_nothing_dies(number, mode, crash_bucket, mount, writers):
    """The same without a crash: what the writers check the daemon with must be right when all is well."""
    seed = SEED + number
    print(f"seed {seed}: repeat with WAYSFS_TEST_SEED={SEED}")
    source = random.Random(seed)
    prefix = f"{mode}-alive{number}"
    mounted = mount(crash_bucket, mode=mode, prefix=prefix)
    started = [writers(mounted, source.randrange(10**6), large) for large in (False, False, False, True)]
    eventually(lambda: all(writer.has_done(100) for writer in started[:3]), "each has done something", 200)
    for writer in started:
        writer.stop()
    print("operations:", [writer.promised()[0] for writer in started])
    mounted.wait_for_uploads()
    found = check(crash_bucket, prefix, started)
    assert not found, "\n".join(found)
    mounted.unmount()
    assert mounted.unsent() == []


@pytest.mark.parametrize("mode, number", [(MODES[number % 2], number // 2) for number in range(ROUNDS)])
def test_kill_9_while_programs_write(mode, number, crash_bucket, mount, proxy, writers):
    """Three programs write, rename and remove; the daemon dies at some moment, or around some request."""
    seed = SEED + number
    print(f"seed {seed}: repeat with WAYSFS_TEST_SEED={SEED}")
    source = random.Random(seed)
    prefix = f"{mode}{number}"
    middle = proxy(crash_bucket.server)
    mounted = mount(crash_bucket, mode=mode, prefix=prefix, endpoint=middle.endpoint)
    if number % 2 == 0:
        moments = []
    else:
        moments = kill_at_request(middle, mounted, source, source.choice(list(MOMENTS)))
    started = [writers(mounted, source.randrange(10**6), large) for large in (False, False, True)]
    eventually(lambda: all(writer.has_begun() for writer in started), "the writers write")
    deadline = time.monotonic() + source.uniform(0.05, 1.2)
    while time.monotonic() < deadline and not moments:
        time.sleep(0.005)
    moments.append(time.monotonic())
    mounted.kill()
    middle.script = lambda request, forward: forward()
    # What the server had been sent is done before the next mount begins, as by a server that is near.
    middle.settle()
    for writer in started:
        writer.wait()
        assert writer.error()[2] >= moments[0], f"{writer.name} failed before the kill: {writer.error()}"
    print("operations:", [writer.promised()[0] for writer in started])

    mounted.start_after_death()
    mounted.wait_for_uploads()
    found = check(crash_bucket, prefix, started)
    assert not found, "\n".join(found)
    eventually(lambda: abandoned(crash_bucket, prefix, middle) == [], "what was begun is completed or aborted")
    mounted.restart()
    assert mounted.unsent() == []
