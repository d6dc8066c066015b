"""A server that fails while programs read, in many ways: each read gives the right bytes or an error, never others."""

import collections
import itertools
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import faults
from support.commands import eventually
from support.faults import HELD
from support.processes import is_alive
from support.proxy import Answer
from support.readers import READERS, errors, wrong
from support.versions import describe, render, whole

SIZE = (8 << 20) + 12_345


def version(name, number, size=SIZE):
    return render(whole(name, number, size))


def is_read(request):
    return request.method == "GET" and request.key != ""


# MARK: Ways in which the answer to a GET is not what it should be


def header(answer, name):
    return next((value for key, value in answer.headers if key.lower() == name), None)


def replace(answer, name, value):
    answer.headers = [item for item in answer.headers if item[0].lower() != name]
    if value is not None:
        answer.headers.append((name, value))
    return answer


def place(answer):
    """First and last byte of a part, and the length of the object."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", header(answer, "content-range") or "")
    return tuple(map(int, found.groups())) if found else None


def shortened(request, forward):
    """Bytes are missing at the end, and the length says so."""
    answer = forward()
    answer.body = answer.body[:-1000]
    return answer


def lengthened(request, forward):
    """There are more bytes, and the length says so."""
    answer = forward()
    answer.body += b"x" * 1000
    return answer


def overflowing(request, forward):
    """More bytes follow than the length says, and the end of the connection."""
    answer = forward()
    replace(answer, "content-length", str(len(answer.body)))
    answer.body += b"x" * 1000
    answer.cut = len(answer.body)
    return answer


def moved(request, forward):
    """Bytes from another place, and the head says so."""
    answer = forward()
    if place(answer) is None:
        return answer
    first, last, length = place(answer)
    first, last = (first - 4096, last - 4096) if first >= 4096 else (first + 4096, min(last + 4096, length - 1))
    request.headers = [
        (name, f"bytes={first}-{last}" if name.lower() == "range" else value) for name, value in request.headers
    ]
    return forward()


def misplaced(request, forward):
    """The right bytes, and the head says that they are from another place."""
    answer = forward()
    if place(answer) is None:
        return answer
    first, last, length = place(answer)
    return replace(answer, "content-range", f"bytes {first + 4096}-{last + 4096}/{length + 4096}")


def grown(request, forward):
    """The head says that the object is longer than it is."""
    answer = forward()
    if place(answer) is None:
        return answer
    first, last, length = place(answer)
    return replace(answer, "content-range", f"bytes {first}-{last}/{length + 100_000}")


def unranged(request, forward):
    """The server does not know ranges: it sends all."""
    request.headers = [item for item in request.headers if item[0].lower() != "range"]
    return forward()


def retagged(request, forward):
    """The tag is that of another version."""
    return replace(forward(), "etag", '"0123456789abcdef0123456789abcdef"')


def untagged(request, forward):
    """There is no tag."""
    return replace(forward(), "etag", None)


def torn(request, forward):
    """The connection is reset in the middle of the body."""
    answer = forward()
    replace(answer, "content-length", str(len(answer.body)))
    answer.cut, answer.resets = len(answer.body) // 2, True
    return answer


KINDS = [
    *(faults.busy, faults.error, faults.reset, faults.closed, faults.truncated, torn),
    *(shortened, lengthened, overflowing, moved, misplaced, grown, unranged, retagged, untagged),
]
# What is asked for again, and works when it is not wrong too often.
PASSING = [faults.busy, faults.error, faults.reset, faults.closed, faults.truncated, torn]


class Fails:
    """A script for a proxy: one in so many reads of objects fails in a way, and it counts these.

    If not all fail, then none of them again and again, which it might by chance: a range, named by its end, does so
    three times at most.
    """

    def __init__(self, kind, one_in):
        self.kind, self.one_in = kind, one_in
        self.numbers = itertools.count()
        self.ends = collections.Counter()
        self.failed = 0

    def __call__(self, request, forward):
        if not is_read(request) or next(self.numbers) % self.one_in:
            return forward()
        wanted = next((value for name, value in request.headers if name.lower() == "range"), "")
        end = request.key, wanted.rpartition("-")[2]
        self.ends[end] += 1
        if self.one_in > 1 and self.ends[end] > 3:
            return forward()
        self.failed += 1
        return self.kind(request, forward)


@pytest.fixture
def between(bucket, mount, proxy):
    """A mount that reaches its server through a proxy."""
    middle = proxy(bucket.server)
    return middle, mount(bucket, endpoint=middle.endpoint)


def store(bucket, prefix):
    """A file for each reader: their contents by their names, which are those of the readers behind the prefix."""
    contents = {f"{prefix}-{name}": version(f"{prefix}-{name}", 1) for name in READERS}
    for name, content in contents.items():
        bucket.put(name, content)
    return contents


def read_all(mounted, contents):
    """Lets all readers read at once: pieces by the names of the files."""
    with ThreadPoolExecutor(len(contents)) as pool:
        futures = {
            name: pool.submit(READERS[name.partition("-")[2]], mounted.path / name, len(content), seed)
            for seed, (name, content) in enumerate(contents.items())
        }
        return {name: future.result() for name, future in futures.items()}


def assert_right_or_error(found, contents):
    for name, pieces in found.items():
        assert pieces, f"{name}: nothing was read"
        others = wrong(pieces, contents[name])
        assert not others, f"{name}: {others[:5]}"


def assert_right(found, contents):
    assert_right_or_error(found, contents)
    assert not any(errors(pieces) for pieces in found.values()), {name: errors(found[name]) for name in found}
    for name, pieces in found.items():
        if name.endswith("sequential"):
            assert sum(len(piece) for _, _, piece in pieces) == len(contents[name]), name


def is_read_without_errors(mounted, contents):
    found = read_all(mounted, contents)
    assert_right_or_error(found, contents)
    return not any(errors(pieces) for pieces in found.values())


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_answers_that_are_wrong(kind, bucket, between):
    """One in five, then all of them, then none."""
    middle, mounted = between
    contents, others = store(bucket, "some"), store(bucket, "all")

    middle.script = some = Fails(kind, one_in=5)
    found = read_all(mounted, contents)
    assert some.failed > 0
    (assert_right if kind in PASSING else assert_right_or_error)(found, contents)

    middle.script = every = Fails(kind, one_in=1)
    assert_right_or_error(read_all(mounted, others), others)
    assert every.failed > 0
    assert is_alive(mounted.pid)

    faults.heal(middle)
    if kind is overflowing:
        # Connections that are used again may still bring what was sent too much.
        eventually(lambda: is_read_without_errors(mounted, contents | others), "these connections are gone")
    assert_right(read_all(mounted, contents | others), contents | others)


@pytest.mark.time_limit(120)
def test_answers_that_stall(bucket, between):
    """The first GET of each file comes to a stop, before the answer or in its body: given up at last, and sent again.
    Other readers go on meanwhile."""
    middle, mounted = between
    contents = store(bucket, "before") | store(bucket, "within")
    bucket.put("other", b"other")
    stalled, released = set(), threading.Event()

    def in_pieces(body):
        yield body[: len(body) // 2]
        released.wait(HELD)

    def script(request, forward):
        if not is_read(request) or request.key not in contents or request.key in stalled:
            return forward()
        stalled.add(request.key)
        if request.key.startswith("before"):
            released.wait(HELD)
            return None
        answer = forward()
        replace(answer, "content-length", str(len(answer.body)))
        answer.pieces, answer.cut = in_pieces(answer.body), 0
        return answer

    middle.script = script
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, mounted, contents)
        try:
            eventually(lambda: len(stalled) == len(contents), "every reader waits")
            assert (mounted.path / "other").read_bytes() == b"other"
            assert not reading.done()
            assert_right(reading.result(), contents)
        finally:
            released.set()


# MARK: Objects that are replaced while they are read


class HoldsBack:
    """A script: of each object, a few reads are answered; the others wait, and go on when `release` is called."""

    def __init__(self, answered):
        self.answered, self.counts, self.held = answered, {}, set()
        self.released = threading.Event()
        self.lock = threading.Lock()

    def __call__(self, request, forward):
        if not is_read(request):
            return forward()
        with self.lock:
            count = self.counts[request.key] = self.counts.get(request.key, 0) + 1
            waits = count > self.answered and not self.released.is_set()
            if waits:
                self.held.add(request.key)
        if waits:
            self.released.wait(HELD)
        return forward()

    def release(self):
        self.released.set()


@pytest.mark.parametrize("size", [SIZE, SIZE - 5_000_000, SIZE + 5_000_000], ids=["as long", "shorter", "longer"])
def test_objects_that_are_replaced(size, bucket, between):
    """What was here may still be read, for the rest there is an error; and the next open sees the new version."""
    middle, mounted = between
    old = store(bucket, "file")
    new = {name: version(name, 2, size) for name in old}
    middle.script = script = HoldsBack(answered=2)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, mounted, old)
        try:
            eventually(lambda: len(script.held) == len(old), "every reader waits")
            for name, content in new.items():
                bucket.put(name, content)
        finally:
            script.release()
        found = reading.result()
    assert_right_or_error(found, old)
    for name, pieces in found.items():
        assert errors(pieces), f"{name}: nothing that was not here could have been read"
        assert set(errors(pieces)) <= {"ESTALE", "SIGBUS"}, errors(pieces)
    for name, content in new.items():
        read = (mounted.path / name).read_bytes()
        assert read == content, f"{name}: {describe(read)}"
    assert_right(read_all(mounted, new), new)


def test_an_object_that_is_replaced_again_and_again(bucket, mount):
    """Whatever is read at once, by whom ever, is of one version."""
    mounted = mount(bucket, "--metadata-ttl", "0")
    versions = [version("file", number, size) for number, size in enumerate([300_000, 2_000_000, SIZE] * 4, start=1)]
    bucket.put("file", versions[0])
    done, mixtures, counts = threading.Event(), [], {name: 0 for name in READERS}

    def read(name):
        source = random.Random(name)
        while not done.is_set():
            pieces = READERS[name](mounted.path / "file", 300_000, source.randrange(1000))
            counts[name] += not errors(pieces)
            for piece in pieces:
                if all(wrong([piece], content) for content in versions):
                    mixtures.append(f"{name} at {piece[0]}: {describe(piece[2])}")

    with ThreadPoolExecutor(len(READERS)) as pool:
        readers = [pool.submit(read, name) for name in READERS]
        try:
            for content in versions:
                before = dict(counts)
                bucket.put("file", content)
                eventually(lambda: mixtures or any(counts[name] > before[name] for name in READERS), "it is read")
            eventually(lambda: all(counts.values()) or mixtures, "everybody has read a version")
        finally:
            done.set()
        for reader in readers:
            reader.result()
    assert not mixtures, mixtures[:5]
