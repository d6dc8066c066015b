"""What a mount takes of the machine."""

import os
import random

from support.commands import eventually
from support.processes import resident_kib

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
