"""Uploads that fail or wait, in both write modes: who is told, what is kept, what others see meanwhile."""

import contextlib
import os
import random
import subprocess
import threading

import pytest
from support.commands import TIME_LIMIT, eventually
from support.disk import taken
from support.errors import fails, outcome
from support.faults import HELD, Hold, heal, is_change, refuse

MIB = 1 << 20
CONTENT = os.urandom(100_000)


@pytest.fixture
def between(bucket, mount, mode, proxy):
    """A mount in each mode that reaches its server through a proxy."""
    middle = proxy(bucket.server)
    return middle, mount(bucket, mode=mode, endpoint=middle.endpoint).ask_what_is_asked_once()


@pytest.fixture
def writeback(bucket, mount, proxy):
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--metadata-ttl", "500ms", mode="writeback", endpoint=middle.endpoint)
    return middle, mounted.ask_what_is_asked_once()


# MARK: Errors of uploads in the background


def test_an_upload_in_the_background_fails(bucket, writeback):
    """Each fsync says so until an upload succeeds."""
    middle, mounted = writeback
    refuse(middle)
    path = mounted.path / "file"
    path.write_bytes(CONTENT)
    eventually(lambda: "an upload failed" in mounted.log_text(), "it is tried")
    with open(path, "r+b", buffering=0) as file:
        for _ in range(3):
            with fails("EACCES"):
                os.fsync(file.fileno())
        assert file.read() == CONTENT
        heal(middle)
        eventually(lambda: outcome(os.fsync, file.fileno()) == "done", "a later try succeeds")
        assert bucket.get("file") == CONTENT
    mounted.wait_until_sent()


def test_the_next_close_tells(bucket, writeback):
    """Once for each failure, and even when it writes nothing."""
    middle, mounted = writeback
    refuse(middle)
    path = mounted.path / "file"
    path.write_bytes(CONTENT)

    def open_and_close():
        os.close(os.open(path, os.O_WRONLY))

    eventually(lambda: outcome(open_and_close) == "EACCES", "it is tried, and the next close tells")
    heal(middle)
    mounted.wait_for_uploads()
    open_and_close()
    assert bucket.get("file") == CONTENT


def test_only_the_directories_above_a_failure_tell(bucket, writeback):
    middle, mounted = writeback
    for name in ("good", "bad", "bad/below"):
        (mounted.path / name).mkdir()
    refuse(middle, lambda request: is_change(request) and request.key.startswith("bad/below/f"))
    (mounted.path / "good" / "file").write_bytes(CONTENT)
    (mounted.path / "bad" / "below" / "file").write_bytes(CONTENT)
    mounted.wait_for_uploads("good")
    assert bucket.get("good/file") == CONTENT
    for directory in ("", "bad", "bad/below"):
        with fails("EACCES"):
            mounted.wait_for_uploads(directory)
    heal(middle)
    for directory in ("", "bad", "bad/below"):
        mounted.wait_for_uploads(directory)
    assert bucket.get("bad/below/file") == CONTENT


def test_one_file_that_fails_does_not_hold_up_others(bucket, writeback):
    middle, mounted = writeback
    refuse(middle, lambda request: is_change(request) and request.key == "bad")
    names = [f"file{number}" for number in range(30)]
    for name in ("bad", *names):
        (mounted.path / name).write_bytes(name.encode() * 1000)
    eventually(lambda: sorted(bucket.keys()) == sorted(names), "the others arrive")
    heal(middle)
    eventually(lambda: bucket.head("bad"), "and later this one")


def test_a_file_that_is_removed_takes_its_error_along(bucket, writeback):
    middle, mounted = writeback
    refuse(middle, lambda request: is_change(request) and request.method != "DELETE")
    (mounted.path / "file").write_bytes(CONTENT)
    with fails("EACCES"):
        mounted.wait_for_uploads()
    (mounted.path / "file").unlink()
    mounted.wait_for_uploads()
    mounted.unmount()
    assert mounted.unsent() == [] and bucket.keys() == []


# MARK: What others see of uploads in the background


def test_a_file_is_changed_while_it_is_uploaded(bucket, writeback):
    """Small and large: the bucket has one version or the other, at last the newer."""
    middle, mounted = writeback
    first = {"small": os.urandom(100_000), "large": os.urandom(20 * MIB)}
    hold = Hold(middle)
    for name, content in first.items():
        (mounted.path / name).write_bytes(content)
    eventually(lambda: {request.key for request in hold.held} >= set(first), "both are being uploaded")
    second = {}
    for name, content in first.items():
        with open(mounted.path / name, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"changed", 50_000)
            second[name] = content[:50_000] + b"changed" + content[50_007:]
            assert os.pread(file.fileno(), 1000, 49_900) == second[name][49_900:50_900]
    hold.release()
    seen = set()

    def is_new(name):
        content = bucket.get(name) if bucket.head(name) else None
        seen.add((name, content))
        return content == second[name]

    for name in first:
        eventually(lambda: is_new(name), "the newer version arrives")
    assert seen <= {(name, content) for name in first for content in (None, first[name], second[name])}
    mounted.wait_for_uploads()
    mounted.wait_until_sent()
    eventually(lambda: bucket.uploads() == [], "no upload is left")
    assert sorted(bucket.keys()) == ["large", "small"]


def release_behind(program, hold):
    """Lets requests through that the server has received before a program's call, and works off only after it.

    The call may have to wait for them, and then they must be let through for it to end.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(1)
    hold.release()
    assert program.wait(TIME_LIMIT) == 0


@pytest.mark.parametrize("size", [100_000, 20 * MIB], ids=["small", "large"])
def test_a_file_is_removed_while_it_is_uploaded(size, bucket, writeback):
    middle, mounted = writeback
    # Not the one that begins an upload in parts: nobody could abort what nobody knows of.
    hold = Hold(middle, lambda request: request.method == "PUT")
    (mounted.path / "file").write_bytes(os.urandom(size))
    eventually(lambda: [request for request in hold.held if request.key == "file"], "it is being uploaded")
    with mounted.program("import os, sys; os.unlink(sys.argv[1])", mounted.path / "file") as program:
        release_behind(program, hold)
    mounted.wait_for_uploads()
    mounted.unmount()
    assert bucket.keys() == [] and bucket.uploads() == [] and mounted.unsent() == []


@pytest.mark.parametrize("size", [100_000, 20 * MIB], ids=["small", "large"])
def test_a_file_is_renamed_while_it_is_uploaded(size, bucket, writeback):
    middle, mounted = writeback
    content = os.urandom(size)
    hold = Hold(middle, lambda request: request.method == "PUT")
    (mounted.path / "old").write_bytes(content)
    eventually(lambda: [request for request in hold.held if request.key == "old"], "it is being uploaded")
    program = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    with mounted.program(program, mounted.path / "old", mounted.path / "new") as program:
        release_behind(program, hold)
    assert os.listdir(mounted.path) == ["new"] and (mounted.path / "new").read_bytes() == content
    mounted.wait_for_uploads()
    assert bucket.keys() == ["new"] and bucket.get("new") == content
    mounted.unmount()
    assert bucket.uploads() == [] and mounted.unsent() == []


def test_a_name_is_used_again_while_its_old_file_is_uploaded(bucket, writeback):
    """Removed, and made anew at once: exclusively, so that the bucket must not have the old one then."""
    middle, mounted = writeback
    hold = Hold(middle, lambda request: request.method in ("PUT", "POST") and int(length(request)) > 1000)
    (mounted.path / "file").write_bytes(CONTENT)
    eventually(lambda: hold.held, "it is being uploaded")
    program = (
        "import os, sys; os.unlink(sys.argv[1]);"
        "descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY);"
        "os.write(descriptor, b'second'); os.close(descriptor)"
    )
    with mounted.program(program, mounted.path / "file") as program:
        release_behind(program, hold)
    mounted.wait_for_uploads()
    assert bucket.keys() == ["file"] and bucket.get("file") == b"second"


def length(request):
    return next((value for name, value in request.headers if name.lower() == "content-length"), "0")


def test_a_directory_is_renamed_while_files_below_are_uploaded(bucket, writeback):
    """And one of them is patched afterwards, which needs the bytes under their new name."""
    middle, mounted = writeback
    (mounted.path / "old").mkdir()
    hold = Hold(middle, lambda request: request.method in ("PUT", "POST") and int(length(request)) > 1000)
    for number in range(4):
        (mounted.path / "old" / f"file{number}").write_bytes(CONTENT[number:])
    eventually(lambda: hold.held, "they are being uploaded")
    program = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    with mounted.program(program, mounted.path / "old", mounted.path / "new") as program:
        release_behind(program, hold)
    for number in range(4):
        with open(mounted.path / "new" / f"file{number}", "r+b") as file:
            file.seek(50_000)
            file.write(b"patched")
    mounted.wait_for_uploads()
    assert sorted(bucket.keys()) == ["new/", *(f"new/file{number}" for number in range(4))]
    for number in range(4):
        content = CONTENT[number:]
        assert bucket.get(f"new/file{number}") == content[:50_000] + b"patched" + content[50_007:]


@pytest.mark.parametrize("there", ["by another client", "exclusively", "here"])
@pytest.mark.parametrize("then", ["unlink", "rename", "rename over", "directory"])
def test_what_a_waiting_file_has_replaced_goes_with_it(there, then, bucket, writeback):
    """A file that waits for its upload is renamed over an object, and leaves that name again before the upload."""
    _, mounted = writeback
    root = mounted.path
    (root / "directory").mkdir()
    name = root / "directory" / "name"
    if there == "by another client":
        bucket.put("directory/name", b"old")
        eventually(name.exists, "it is seen")
    elif there == "exclusively":
        with open(name, "xb") as file:
            file.write(b"old")
    else:
        name.write_bytes(b"old")
        mounted.wait_for_uploads()
    (root / "waiting").write_bytes(CONTENT)
    os.rename(root / "waiting", name)
    if then == "unlink":
        name.unlink()
        expected = {}
    elif then == "rename":
        os.rename(name, root / "directory" / "other")
        expected = {"directory/other": CONTENT}
    elif then == "rename over":
        (root / "other").write_bytes(b"second")
        os.rename(root / "other", name)
        expected = {"directory/name": b"second"}
    else:
        os.rename(root / "directory", root / "moved")
        expected = {"moved/name": CONTENT}
    mounted.wait_for_uploads()
    assert {key: bucket.get(key) for key in bucket.keys() if not key.endswith("/")} == expected
    mounted.unmount()
    assert mounted.unsent() == []


def test_a_file_is_listed_while_it_is_uploaded(bucket, mount, proxy):
    """The server lists the names before the upload, and the answer arrives after it."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--metadata-ttl", "0", mode="writeback", endpoint=middle.endpoint)
    mounted.ask_what_is_asked_once()
    asks, listed, uploaded = threading.Event(), threading.Event(), threading.Event()

    def script(request, forward):
        if request.method == "PUT" and request.key == "file":
            listed.wait(HELD)
            answer = forward()
            uploaded.set()
            return answer
        answer = forward()
        if asks.is_set() and request.method == "GET" and "list-type=2" in request.query and b"<Key>file<" not in answer.body:
            listed.set()
            uploaded.wait(HELD)
            # By now the mount knows of the upload, or soon after: both must do.
            mounted.wait_until_sent()
        return answer

    middle.script = script
    (mounted.path / "file").write_bytes(CONTENT)
    asks.set()
    assert os.listdir(mounted.path) == ["file"]
    assert uploaded.is_set()


def test_files_stay_listed_while_they_are_uploaded(bucket, mount, mode):
    """Whatever is closed is in every listing that begins later."""
    mounted = mount(bucket, "--metadata-ttl", "0", mode=mode)
    closed, done, problems = [], threading.Event(), []

    def watch():
        while not done.is_set():
            expected = set(closed)
            names = set(os.listdir(mounted.path))
            if not expected <= names:
                problems.append(f"not listed: {sorted(expected - names)}")
            if strange := [name for name in names if not name.startswith("file")]:
                problems.append(f"nobody made {strange}")

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for number in range(400):
            (mounted.path / f"file{number}").write_bytes(b"x")
            closed.append(f"file{number}")
        mounted.wait_for_uploads()
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
    assert not problems, problems[:5]


def test_replacing_by_rename_never_goes_back(bucket, mount, mode):
    """Write beside it, fsync, rename over: another client sees one whole version after the other."""
    mounted = mount(bucket, mode=mode)
    versions = [b"%08d" % number * 10_000 for number in range(25)]
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            if bucket.head("file") or seen:
                seen.append(bucket.get("file"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for content in versions:
            with open(mounted.path / "new", "wb", buffering=0) as file:
                file.write(content)
                os.fsync(file.fileno())
            os.rename(mounted.path / "new", mounted.path / "file")
        mounted.wait_for_uploads()
    finally:
        done.set()
        watcher.join()
    assert bucket.keys() == ["file"] and bucket.get("file") == versions[-1]
    numbers = [versions.index(content) for content in seen]
    assert numbers == sorted(numbers)


# MARK: Streams that turn random


def test_a_header_that_is_patched_at_the_end(bucket, mount, mode):
    """As ffmpeg and zip do it: most of the file has left by then."""
    mounted = mount(bucket, mode=mode)
    content = bytearray(os.urandom(40 * MIB))
    with open(mounted.path / "movie", "w+b", buffering=0) as file:
        for offset in range(0, len(content), MIB):
            file.write(content[offset : offset + MIB])
        for offset, patch in ((0, b"header"), (8 * MIB - 3, b"bounds"), (23 * MIB + 5, b"middle")):
            file.seek(offset)
            file.write(patch)
            content[offset : offset + len(patch)] = patch
        file.seek(0, os.SEEK_END)
        file.write(b"and more")
        content += b"and more"
        assert os.pread(file.fileno(), 100, 0) == content[:100]
        assert os.pread(file.fileno(), 2 * MIB, 7 * MIB) == content[7 * MIB : 9 * MIB]
    assert (mounted.path / "movie").read_bytes() == content
    mounted.wait_for_uploads()
    assert bucket.get("movie") == content
    eventually(lambda: bucket.uploads() == [], "no upload is left")


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("seed", range(4))
def test_streams_that_turn_random_anywhere(seed, bucket, mount, mode):
    """Appends, patches, truncations, fsyncs and reads of what is not uploaded yet."""
    mounted = mount(bucket, mode=mode)
    source = random.Random(seed)
    content = bytearray()
    with open(mounted.path / "file", "w+b", buffering=0) as file:
        descriptor = file.fileno()
        while len(content) < 40 * MIB:
            kind = source.random()
            if kind < 0.86:
                piece = source.randbytes(source.choice([100_000, MIB, 3 * MIB]))
                os.pwrite(descriptor, piece, len(content))
                content += piece
            elif kind < 0.93:
                offset = source.randrange(len(content) + 1)
                piece = source.randbytes(min(source.choice([10, 5_000, 200_000]), len(content) - offset))
                os.pwrite(descriptor, piece, offset)
                content[offset : offset + len(piece)] = piece
            elif kind < 0.95:
                del content[len(content) - len(content) // 10 :]
                os.ftruncate(descriptor, len(content))
            elif kind < 0.96:
                os.fsync(descriptor)
            offset = source.randrange(len(content) + 1)
            assert os.pread(descriptor, 70_000, offset) == content[offset : offset + 70_000]
    mounted.wait_for_uploads()
    assert bucket.get("file") == content
    eventually(lambda: bucket.uploads() == [], "no upload is left")


# MARK: The journal's limit


def journal_bytes(mounted):
    """What the journal takes on the disk."""
    return taken(mounted.kept)


def test_a_full_journal_is_enospc_when_nothing_frees_it(bucket, mount, mode, proxy):
    """And the file is not stored in part, then or later."""
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--journal-limit", "16MiB", mode=mode, endpoint=middle.endpoint)
    descriptor = os.open(mounted.path / "file", os.O_CREAT | os.O_WRONLY)
    with fails("ENOSPC"):
        # Not in sequence: none of it can leave before it is closed.
        for number in reversed(range(20)):
            assert os.pwrite(descriptor, bytes([number]) * MIB, number * MIB) == MIB
    assert journal_bytes(mounted) <= 17 * MIB
    with fails("ENOSPC", "EIO"):
        os.close(descriptor)
    mounted.wait_for_uploads()
    assert bucket.head("file") is None
    # What is given up gives its room back, soon after the close.
    fits = lambda: outcome((mounted.path / "other").write_bytes, bytes(10 * MIB)) == "done"
    eventually(fits, "there is room again")
    mounted.restart()
    mounted.wait_for_uploads()
    assert bucket.head("file") is None and bucket.get("other") == bytes(10 * MIB)


def test_an_edit_that_does_not_fit_leaves_the_object_as_it_was(bucket, mount, mode):
    mounted = mount(bucket, "--journal-limit", "16MiB", mode=mode)
    content = os.urandom(24 * MIB)
    bucket.put("file", content)
    descriptor = os.open(mounted.path / "file", os.O_RDWR)
    with fails("ENOSPC"):
        for number in range(24):
            os.pwrite(descriptor, b"changed" * 140_000, number * MIB)
    with fails("ENOSPC", "EIO"):
        os.close(descriptor)
    mounted.restart()
    mounted.wait_for_uploads()
    assert bucket.get("file") == content and (mounted.path / "file").read_bytes() == content


def test_a_writer_waits_while_others_are_uploaded(bucket, mount, mode, proxy):
    middle = proxy(bucket.server)
    mounted = mount(bucket, "--journal-limit", "24MiB", mode=mode, endpoint=middle.endpoint)
    first, second = os.urandom(16 * MIB), os.urandom(16 * MIB)
    hold = Hold(middle, lambda request: request.key == "first" and request.method in ("PUT", "POST"))
    written = []

    def write_second():
        with open(mounted.path / "second", "wb", buffering=0) as file:
            for offset in range(0, len(second), MIB):
                written.append(file.write(second[offset : offset + MIB]))

    threads = [threading.Thread(target=(mounted.path / "first").write_bytes, args=(first,))]
    threads[0].start()
    eventually(lambda: len(hold.held) > 0, "the first is being uploaded")
    if mode == "writeback":
        threads[0].join()
    else:
        eventually(lambda: journal_bytes(mounted) >= 16 * MIB, "the first is written")
    threads.append(threading.Thread(target=write_second))
    threads[1].start()
    eventually(lambda: journal_bytes(mounted) >= 22 * MIB, "the second has filled the journal")
    assert threads[1].is_alive() and sum(written) < len(second)
    hold.release()
    for thread in threads:
        thread.join()
    assert sum(written) == len(second)
    mounted.wait_for_uploads()
    assert bucket.get("first") == first and bucket.get("second") == second


@pytest.mark.time_limit(120)
def test_many_writers_keep_within_the_limit(bucket, mount, mode):
    """Ten times as much as the journal takes: all of it arrives, and the limit holds all the while."""
    mounted = mount(bucket, "--journal-limit", "16MiB", mode=mode)
    contents = {f"f{number}-{step}": os.urandom(MIB) for number in range(4) for step in range(40)}
    peak, errors = [], []

    def work(number):
        for step in range(40):
            name = f"f{number}-{step}"
            errors.append(outcome((mounted.path / name).write_bytes, contents[name]))
            peak.append(journal_bytes(mounted))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) == {"done"}
    assert max(peak) <= 17 * MIB
    mounted.wait_for_uploads()
    for name, content in contents.items():
        assert bucket.get(name) == content
