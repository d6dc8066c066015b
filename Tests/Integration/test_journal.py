"""The journal: what is left of it after a crash, a power failure or damage, and that nobody loses anything by it."""

import json
import os
import random
import re
import shutil
import time

import pytest
from support.commands import eventually
from support.errors import fails, outcome
from support.faults import Hold, heal, is_change, is_copy, refuse
from support.systemcalls import Disk, traced

SEED = int(os.environ.get("WAYSFS_TEST_SEED") or time.time_ns() % 1_000_000)
MIB = 1 << 20
CONTENT = os.urandom(100_000)


@pytest.fixture
def between(bucket, mount, mode, proxy):
    middle = proxy(bucket.server)
    return middle, mount(bucket, mode=mode, endpoint=middle.endpoint).ask_what_is_asked_once()


def recover(mounted, *options):
    """What `waysfs recover` says, as JSON."""
    result = mounted.waysfs.run("recover", "--cache-dir", mounted.cache, "--json", *options)
    return json.loads(result.stdout)


def folder(mounted, name):
    """The files in one of the journal's folders, by name."""
    return {path.name: path for path in mounted.cache.glob(f"*/{name}/*")}


# MARK: Never closed


def test_what_was_never_closed_is_kept_for_a_person(mode, bucket, between):
    """New files and edits, small and large."""
    middle, mounted = between
    base = os.urandom(200_000)
    bucket.put("edited", base)
    contents = {"small": CONTENT, "large": os.urandom(20 * MIB)}
    with open(mounted.path / "edited", "r+b", buffering=0) as edited:
        os.pwrite(edited.fileno(), b"patched", 150_000)
        files = [open(mounted.path / name, "wb", buffering=0) for name in contents]
        for file, content in zip(files, contents.values(), strict=True):
            for offset in range(0, len(content), MIB):
                file.write(content[offset : offset + MIB])
        mounted.kill()
        for file in [edited, *files]:
            with fails("ENOTCONN", "ECONNABORTED"):
                file.close()
    mounted.start_after_death()
    mounted.wait_for_uploads()
    assert bucket.keys() == ["edited"] and bucket.get("edited") == base
    eventually(lambda: bucket.uploads() == [], "what was begun is aborted")
    kept = [path.read_bytes() for name, path in folder(mounted, "recovered").items() if name.endswith(".data")]
    assert all(content in kept for content in contents.values())
    assert any(content[150_000:150_007] == b"patched" for content in kept)
    assert "never closed" in mounted.log_text()
    rows = {row["key"]: row for row in recover(mounted)}
    assert set(rows) == {"edited", "small", "large"}
    assert {row["state"] for row in rows.values()} == {"recovered"}
    # They are a person's now: neither this mount nor the next takes them away.
    mounted.restart()
    assert {row["key"] for row in recover(mounted)} == set(rows)
    mounted.unmount()
    mounted.waysfs.run("recover", "--cache-dir", mounted.cache, "--export", mounted.cache.parent / "rescued")
    rescued = [path.read_bytes() for path in (mounted.cache.parent / "rescued").rglob("*") if path.is_file()]
    assert all(content in rescued for content in contents.values())


# MARK: Damage


def cut(content, source):
    return content[: source.randrange(len(content))]


def emptied(content, source):
    return b""


def flipped(content, source):
    place = source.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << source.randrange(8)]) + content[place + 1 :]


def longer(content, source):
    return content + source.randbytes(source.randrange(1, 100))


def binary(content, source):
    return source.randbytes(len(content))


DAMAGES = [cut, emptied, flipped, longer, binary]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_record(number, damage, mode, bucket, between):
    """Record and bytes are set aside and reported; nothing is deleted, and everything else arrives."""
    source = random.Random(SEED + number)
    print(f"seed {SEED}: repeat with WAYSFS_TEST_SEED={SEED}")
    middle, mounted = between
    bucket.put("old", CONTENT)
    refuse(middle)
    contents = {f"file{number}": os.urandom(source.choice([1, 100, 50_000])) for number in range(6)}
    contents["old"] = os.urandom(1000)
    for name, content in contents.items():
        assert outcome((mounted.path / name).write_bytes, content) == ("EACCES" if mode == "close" else "done")
    if mode == "close":
        # The end of the descriptor tries once more; a request that outlives the daemon would arrive after all.
        tries = 2 * len(contents)
        eventually(lambda: mounted.log_text().count("an upload failed") >= tries, "every upload was refused twice")
    mounted.kill()
    middle.settle()
    records = {name: path for name, path in folder(mounted, "files").items() if name.endswith(".record")}
    assert len(records) == len(contents)
    name = source.choice(sorted(records))
    record = records[name].read_bytes()
    broken = damage(record, source)
    records[name].write_bytes(broken)
    stem = name.removesuffix(".record")
    data = [path.read_bytes() for other, path in folder(mounted, "files").items() if re.match(rf"{stem}\D", other)]
    (victim,) = [key for key, content in contents.items() if content in data]

    heal(middle)
    mounted.start_after_death()
    mounted.wait_for_uploads()
    arrived = {key: bucket.get(key) for key in bucket.keys()}
    expected = {key: content for key, content in contents.items() if key != victim}
    if victim == "old":
        expected["old"] = CONTENT
    assert arrived == expected
    aside = [path.read_bytes() for path in folder(mounted, "quarantine").values()]
    assert broken in aside and contents[victim] in aside
    assert "cannot be read" in mounted.log_text()
    rows = [row for row in recover(mounted) if row["state"] == "quarantined"]
    assert rows and any(row["data"] and open(row["data"], "rb").read() == contents[victim] for row in rows)
    # It stays there.
    mounted.restart()
    assert [path.read_bytes() for path in folder(mounted, "quarantine").values()] == aside


def test_data_that_is_cut_short(mode, bucket, between):
    """It would be sent with zeros at its end."""
    middle, mounted = between
    refuse(middle)
    outcome((mounted.path / "file").write_bytes, CONTENT)
    mounted.kill()
    middle.settle()
    (data,) = [path for name, path in folder(mounted, "files").items() if name.endswith(".data")]
    os.truncate(data, 60_000)
    heal(middle)
    mounted.start_after_death()
    mounted.wait_for_uploads()
    assert bucket.keys() == []
    assert CONTENT[:60_000] in [path.read_bytes() for path in folder(mounted, "quarantine").values()]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("held", ["copy", "delete"])
def test_a_damaged_note_of_a_rename(held, damage, mode, bucket, between):
    """At least one whole copy is there, and the note is set aside."""
    source = random.Random(SEED)
    middle, mounted = between
    bucket.put("old", CONTENT)
    (mounted.path / "other").write_bytes(b"other")
    mounted.wait_for_uploads()
    hold = Hold(middle, is_copy if held == "copy" else lambda request: request.method == "DELETE")
    program = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    with mounted.program(program, mounted.path / "old", mounted.path / "new"):
        eventually(lambda: hold.held, "the rename is under way")
        mounted.kill()
        hold.drop()
    (note,) = [path for name, path in folder(mounted, "files").items() if name.endswith(".rename")]
    broken = damage(note.read_bytes(), source)
    note.write_bytes(broken)
    mounted.start_after_death()
    mounted.wait_for_uploads()
    assert bucket.get("other") == b"other"
    assert {bucket.get(key) for key in bucket.keys() if key != "other"} == {CONTENT}
    assert broken in [path.read_bytes() for path in folder(mounted, "quarantine").values()]
    assert "cannot be read" in mounted.log_text()


def test_damaged_hints_cost_no_bytes(mode, bucket, between):
    """Notes are hints: whatever becomes of them, what was closed arrives."""
    source = random.Random(SEED)
    middle, mounted = between
    refuse(middle, lambda request: is_change(request) and request.method == "POST" and "uploadId" in request.query)
    contents = {f"file{number}": os.urandom(10 * MIB) for number in range(len(DAMAGES))}
    for name, content in contents.items():
        outcome((mounted.path / name).write_bytes, content)
    outcome(mounted.wait_for_uploads)
    mounted.kill()
    middle.settle()
    notes = [path for name, path in sorted(folder(mounted, "files").items()) if name.endswith(".notes")]
    assert len(notes) >= len(DAMAGES)
    for path, damage in zip(notes, DAMAGES, strict=False):
        path.write_bytes(damage(path.read_bytes(), source))
    heal(middle)
    mounted.start_after_death()
    mounted.wait_for_uploads()
    assert {key: bucket.get(key) for key in bucket.keys()} == contents


# MARK: Power failures


def steps(calls, path, directory):
    """The calls that make a file durable, in the order of their ends, as words."""
    found = []
    for call in calls:
        if call.result < 0:
            continue
        if call.name in ("fsync", "fdatasync"):
            if call.descriptor == directory:
                found.append("directory")
            elif call.descriptor and call.descriptor.startswith(path) and ".record" in call.descriptor:
                found.append("record")
            elif call.descriptor and call.descriptor.startswith(path):
                found.append("data")
        elif call.name.startswith("rename") and call.paths[-1] == f"{path}.record":
            found.append("rename")
    return found


def test_fsync_reaches_the_disk(bucket, mount):
    """Data, record, its name, and the directory, in this order, before the program's fsync returns."""
    mounted = mount(bucket, mode="writeback").ask_what_is_asked_once()
    with traced(mounted.pid) as calls, open(mounted.path / "file", "wb", buffering=0) as file:
        for number in range(3):
            began = time.time()
            file.write(CONTENT[number:])
            os.fsync(file.fileno())
            ended = time.time()
            (mounted.path / f"mark{number}").mkdir()
            (mounted.cache.parent / f"times{number}").write_text(json.dumps([began, ended]))
    for number in range(3):
        began, ended = json.loads((mounted.cache.parent / f"times{number}").read_text())
        during = [call for call in calls if began <= call.began and call.ended <= ended]
        renamed = [call.paths[-1] for call in during if call.name.startswith("rename")]
        records = [path for path in renamed if path.endswith(".record")]
        assert records, f"no record was made durable: {during}"
        path = records[-1].removesuffix(".record")
        found = steps(during, path, os.path.dirname(path))
        order = iter(found)
        assert all(step in order for step in ("data", "record", "rename", "directory")), found


@pytest.mark.parametrize("seed", range(5))
def test_what_was_synced_survives_a_power_failure(seed, bucket, mount, proxy):
    """Everything that was not waited for is taken away from a copy of the journal; the next mount has only that."""
    source = random.Random(SEED + seed)
    print(f"seed {SEED}: repeat with WAYSFS_TEST_SEED={SEED}")
    middle = proxy(bucket.server)
    mounted = mount(bucket, mode="writeback", endpoint=middle.endpoint).ask_what_is_asked_once()
    base = os.urandom(300_000)
    bucket.put("base", base)
    refuse(middle)
    # What may be there: what was synced last, or closed since then.
    promised, files = {}, []
    with traced(mounted.pid) as calls:
        for number in range(8):
            name = f"file{number}" if number else "base"
            file = open(mounted.path / name, "r+b" if number == 0 else "w+b", buffering=0)
            files.append(file)
            content = bytearray(base if number == 0 else b"")
            for _ in range(source.randrange(1, 4)):
                offset = source.randrange(len(content) + 1)
                piece = source.randbytes(source.choice([1, 5000, 100_000]))
                os.pwrite(file.fileno(), piece, offset)
                content[offset : offset + len(piece)] = piece
                if source.random() < 0.6:
                    os.fsync(file.fileno())
                    promised[name] = [bytes(content)]
            if source.random() < 0.3 and name in promised:
                del content[source.randrange(len(content) + 1) :]
                os.ftruncate(file.fileno(), len(content))
            if source.random() < 0.3:
                # Closed is in the journal, but not for a power failure.
                file.close()
                promised.get(name, []).append(bytes(content))
    mounted.kill()
    for file in files:
        if not file.closed:
            outcome(file.close)
    middle.settle()
    heal(middle)
    copy = mounted.cache.parent / "after"
    losses = Disk(mounted.cache).after_power_failure(calls, copy)
    print("lost:", losses)
    assert any("data" in loss for loss in losses)
    mounted.waysfs.run("umount", mounted.path)
    shutil.rmtree(mounted.cache)
    copy.rename(mounted.cache)
    mounted.start()
    mounted.wait_for_uploads()
    for name, contents in promised.items():
        assert bucket.head(name), f"{name} is not there"
        found = bucket.get(name)
        assert found in contents, f"{name} has {len(found)} bytes, synced were {len(contents[0])}"
