"""What a mount takes of the machine."""

import os
import random
import threading

import pytest
from support.cgroups import memory_group
from support.commands import eventually
from support.processes import is_alive, peak_resident_kib, resident_kib
from support.responder import BUCKET, Responder

IDLE_LIMIT_KIB = 25 << 10


def test_an_idle_mount(bucket, mount, capsys):
    mounted = mount(bucket)
    assert os.listdir(mounted.path) == []
    resident = resident_kib(mounted.pid)
    with capsys.disabled():
        print(f"\nidle resident memory of a mount: {resident / 1024:.1f} MiB")
    assert resident < IDLE_LIMIT_KIB


def test_the_limit_holds_under_load(bucket, mount):
    """Reading and writing much more than the limit."""
    mounted = mount(bucket, "--memory-limit", "32MiB")
    content = random.Random(1).randbytes(8 << 20)
    with open(mounted.path / "large", "wb") as file:
        for _ in range(12):
            file.write(content)
    mounted.restart()
    highest = 0
    with open(mounted.path / "large", "rb") as file:
        while piece := file.read(8 << 20):
            assert piece == content
            highest = max(highest, resident_kib(mounted.pid))
    assert highest < (32 << 10) + (40 << 10)


def test_descriptors_do_not_pile_up(bucket, mount):
    mounted = mount(bucket)

    def count():
        return len(os.listdir(f"/proc/{mounted.pid}/fd"))

    (mounted.path / "first").write_text("x")
    before = count()
    for number in range(200):
        (mounted.path / f"file{number}").write_text("x")
        (mounted.path / f"file{number}").read_text()
        (mounted.path / f"file{number}").unlink()
    # Connections are kept for a while; files are not.
    eventually(lambda: count() <= before + 40, f"{before} descriptors before, {count()} after")
    eventually(lambda: not list(mounted.cache.rglob("*.data")), "nothing stays in the cache directory")


MIB = 1 << 20
STREAMS = 32
LENGTH = 256


@pytest.fixture
def many_large(tmp_path):
    """A server in memory with 32 objects of 256 MiB, which are copies of one; and what a MiB of them is."""
    directory = tmp_path / "responder"
    directory.mkdir()
    responder = Responder(directory, "--memory-limit", "512M")
    client = responder.client()
    pieces = [random.Random(number).randbytes(MIB) for number in range(17)]
    client.put_object(Bucket=BUCKET, Key="0", Body=b"".join(pieces[index % 17] for index in range(LENGTH)))
    for number in range(1, STREAMS):
        client.copy_object(Bucket=BUCKET, Key=f"{number}", CopySource=f"{BUCKET}/0")
    yield responder, pieces
    responder.stop()


@pytest.mark.time_limit(300)
def test_32_streams_in_a_small_control_group(many_large, mount, capsys):
    """More readers than there is memory for: all get on, none is left behind, and the limit holds."""
    responder, pieces = many_large
    with memory_group(f"waysfs-test-{os.getpid()}", 256 * MIB) as group:
        mounted = mount(
            BUCKET, "--memory-limit", "128MiB", endpoint=responder.environment["WAYSFS_ENDPOINT"], foreground=True,
            start=False,
        )
        if isinstance(group, str):
            with capsys.disabled():
                print(f"\nno control group can be made here ({group}): only the peak of the process is looked at")
        else:
            mounted.below = group
        mounted.start()
        progress, wrong, first_end = [0] * STREAMS, [], []

        def read(number):
            buffer = bytearray(MIB)
            with open(mounted.path / f"{number}", "rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    index, start = divmod(progress[number], MIB)
                    if memoryview(buffer)[:count] != memoryview(pieces[index % 17])[start : start + count]:
                        wrong.append((number, progress[number]))
                    progress[number] += count
            if not first_end:
                first_end.append(list(progress))

        threads = [threading.Thread(target=read, args=(number,)) for number in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert progress == [LENGTH * MIB] * STREAMS and not wrong
        # When the first has read all of its file, the last has read some of its own.
        with capsys.disabled():
            print(
                f"\n32 streams: peak {peak_resident_kib(mounted.pid) / 1024:.0f} MiB; when the first had read 256 MiB, "
                f"the last had {min(first_end[0]) / MIB:.0f} MiB"
            )
        assert min(first_end[0]) >= 16 * MIB
        assert is_alive(mounted.pid)
        assert peak_resident_kib(mounted.pid) <= (128 + 64) << 10
        mounted.process.terminate()
        assert mounted.wait() == 0
