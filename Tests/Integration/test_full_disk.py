"""The disk of the cache directory is full: an error, and no file is ever uploaded in part as if it were whole."""

import os

import pytest
from support.errors import fails
from support.processes import is_alive

LIMIT = 3_000_000


@pytest.fixture
def limited(bucket, mount):
    """A mount that cannot write more than `LIMIT` bytes into a file on this machine."""
    mounted = mount(bucket, foreground=True, start=False)
    mounted.below = ["env", "--ignore-signal=XFSZ", "prlimit", f"--fsize={LIMIT}"]
    return mounted.start()


def test_a_write_that_does_not_fit(bucket, limited):
    descriptor = os.open(limited.path / "file", os.O_CREAT | os.O_WRONLY)
    with fails("ENOSPC", "EFBIG"):
        for _ in range(10):
            assert os.write(descriptor, bytes(500_000)) == 500_000
    # Told once more at the close: some programs look only there.
    with fails("ENOSPC", "EFBIG", "EIO"):
        os.close(descriptor)
    assert bucket.head("file") is None
    assert is_alive(limited.pid)
    (limited.path / "small").write_bytes(b"fits")
    assert bucket.get("small") == b"fits"


def test_an_edit_that_does_not_fit_leaves_the_object_as_it_was(bucket, limited):
    content = os.urandom(1_000_000)
    bucket.put("file", content)
    descriptor = os.open(limited.path / "file", os.O_WRONLY)
    os.pwrite(descriptor, b"changed", 0)
    with fails("ENOSPC", "EFBIG"):
        os.pwrite(descriptor, b"far", LIMIT + 1)
    with fails("ENOSPC", "EFBIG", "EIO"):
        os.close(descriptor)
    assert bucket.get("file") == content
    assert (limited.path / "file").read_bytes() == content
