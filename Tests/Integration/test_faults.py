"""A server that fails in many ways while programs write: each file arrives as it was written, or its program is told.

`WAYSFS_TEST_SEED` repeats a run, as far as the order of threads lets it.
"""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import MODES
from support.errors import outcome
from support.faults import HELD, KINDS, Faults, wrong_tag
from support.processes import is_alive
from support.versions import describe, render, whole

SEED = int(os.environ.get("WAYSFS_TEST_SEED") or time.time_ns() % 1_000_000)
THREADS = 8
MIB = 1 << 20
SIZES = [0, 1, 4096, 102_400]


class Writes:
    """What one thread has written into a directory of its own."""

    def __init__(self, root, label, seed):
        self.root, self.label = root, label
        self.source = random.Random(seed)
        # Name: the runs of what a close or fsync has said is stored. Then: of what they have said is not, since then;
        # each of these may be stored all the same, and the last is to be kept.
        self.stored, self.refused = {}, {}
        self.count = self.errors = 0

    def run(self, count):
        while self.count < count:
            self.write()

    def write(self):
        """A new file, or one of the old ones written anew."""
        if self.stored and self.source.random() < 0.3:
            name = self.source.choice(list(self.stored))
        else:
            name = f"f{self.count}"
        size = self.source.randrange(9 * MIB, 20 * MIB) if self.source.random() < 0.01 else self.source.choice(SIZES)
        runs = whole(f"{self.label}{name}", self.count + 1, size)
        try:
            descriptor = os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError:
            # Nothing was promised, nothing has changed.
            self.errors += 1
            return
        self.count += 1
        calls = [lambda: self.write_all(descriptor, runs), lambda: os.close(descriptor)]
        if self.source.random() < 0.2:
            calls.insert(1, lambda: os.fsync(descriptor))
        errors = [outcome(call) for call in calls]
        self.errors += sum(error != "done" for error in errors)
        if "ESTALE" in errors:
            # It is in a conflict copy, which is told at the end.
            self.stored.pop(name, None)
            self.refused.pop(name, None)
        elif errors[-1] == "done":
            self.stored[name] = runs
            self.refused.pop(name, None)
        else:
            self.refused.setdefault(name, []).append(runs)

    def write_all(self, descriptor, runs):
        content = memoryview(render(runs))
        while content:
            content = content[os.write(descriptor, content[:MIB]) :]


def writers(mounted, seed):
    """Each in a directory of its own, made before the faults begin."""
    writes = []
    for number in range(THREADS):
        root = mounted.path / f"t{number}"
        root.mkdir()
        writes.append(Writes(root, f"t{number}/", seed + number))
    return writes


def stored_differently(bucket, writes, final):
    """How the bucket differs from what was written. Before the end, a version that was refused may be there or not."""
    found, keys = [], set(bucket.keys())
    for one in writes:
        for name in one.stored.keys() | one.refused.keys():
            key, refused = f"{one.root.name}/{name}", one.refused.get(name, [])
            wanted = refused[-1:] if final and refused else [*refused, one.stored.get(name)]
            if key not in keys:
                if None not in wanted:
                    found.append(f"{key} is not there")
                continue
            content = bucket.get(key)
            if content not in [render(runs) for runs in wanted if runs is not None]:
                found.append(f"{key} has {describe(content)}; written: {wanted}")
    return found


def conflict_copies(bucket, faults):
    """Nobody else writes here: none may be made. Tells what had happened to the uploads of that name."""
    copies = [key for key in bucket.keys() if "(conflict " in key]
    return [f"{key}: {describe(bucket.get(key))}; {faults.history[key.partition(' (')[0]]}" for key in copies]


def nowhere(mounted, bucket, writes):
    """Names whose newest bytes are neither in the bucket nor on this machine, whatever their program was told."""
    found = []
    for one in writes:
        for name in one.stored.keys() | one.refused.keys():
            key, content = f"{one.root.name}/{name}", render(one.refused.get(name, [one.stored.get(name)])[-1])
            if not mounted.keeps(content) and (bucket.head(key) is None or bucket.get(key) != content):
                found.append(key)
    return found


def check_through_faults(mounted, bucket, middle, faults, count, dies):
    writes = writers(mounted, SEED)
    middle.script = faults
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda one: one.run(count), writes))
    # In write-back mode most of the requests come only now.
    for _ in range(3):
        if outcome(mounted.wait_for_uploads) == "done":
            break
    print(
        f"seed {SEED}: {sum(one.count for one in writes)} writes, {sum(one.errors for one in writes)} errors, "
        f"{sum(len(one.refused) for one in writes)} files refused; requests: {dict(faults.counts)}"
    )
    assert is_alive(mounted.pid)
    if mounted.mode == "close":
        found = stored_differently(bucket, writes, final=False)
        assert not found, "lost in silence:\n" + "\n".join(found[:20])
    found = nowhere(mounted, bucket, writes)
    assert not found, f"neither in the bucket nor on this machine: {found}"
    if dies:
        mounted.kill()
        middle.settle()
    middle.script = lambda request, forward: forward()
    if dies:
        mounted.start_after_death()
    else:
        mounted.restart()
    mounted.wait_for_uploads()
    mounted.wait_until_sent()
    found = stored_differently(bucket, writes, final=True) + conflict_copies(bucket, faults)
    assert not found, "\n".join(found[:20])


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_request_in_five_fails(kind, mode, bucket, mount, proxy):
    middle = proxy(bucket.server)
    mounted = mount(bucket, mode=mode, endpoint=middle.endpoint)
    check_through_faults(mounted, bucket, middle, Faults(SEED, [kind]), 12, dies=False)


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("dies", [False, True], ids=["unmounted", "killed"])
def test_all_kinds_of_faults_and_files_that_cannot_be_stored(dies, mode, bucket, mount, proxy):
    """For one name in ten the server only has errors, until it is well again."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, mode=mode, endpoint=middle.endpoint)
    # Not with wrong tags: two in a row prove that this server's tags are no sums, and are not compared any more.
    faults = Faults(SEED, [kind for kind in KINDS if kind is not wrong_tag])
    faults.hopeless = lambda key: key.endswith("7")
    check_through_faults(mounted, bucket, middle, faults, 40, dies)


@pytest.mark.time_limit(120)
def test_requests_that_stall(bucket, mount, proxy):
    """Neither an answer nor an end of the connection, once for each file: the mount gives up waiting and asks again.

    In both modes at once, since the wait is what takes the time.
    """
    middle = proxy(bucket.server)
    mounts = [mount(bucket, mode=mode, prefix=mode, endpoint=middle.endpoint) for mode in MODES]
    contents = {f"f{number}": render(whole(f"f{number}", 1, size)) for number, size in enumerate([*SIZES, 9 * MIB])}
    stalled, released = set(), threading.Event()

    def script(request, forward):
        if request.method != "PUT" or request.key in stalled or "probe" in request.key:
            return forward()
        stalled.add(request.key)
        released.wait(HELD)
        return None

    middle.script = script
    files = [(mounted.path / name, content) for mounted in mounts for name, content in contents.items()]
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda item: item[0].write_bytes(item[1]), files))
    for mounted in mounts:
        mounted.wait_for_uploads()
    released.set()
    # The empty name: the marker, which says that there are files with attributes.
    assert stalled == {f"{mode}/{name}" for mode in MODES for name in ["", *contents]}
    for mode in MODES:
        assert {name: bucket.get(f"{mode}/{name}") for name in contents} == contents
    assert conflict_copies(bucket, Faults(SEED, KINDS)) == []
