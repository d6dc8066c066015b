"""Large files: in parts to the bucket, in ranges back, and every byte checked."""

import hashlib
import os
import random

import pytest
from support.commands import eventually, run
from support.trees import digest

MIB = 1 << 20


def block(number):
    """A block of a MiB that no other is equal to."""
    return random.Random(number).randbytes(MIB)


def digest_of_object(bucket, key):
    body = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"]
    digest = hashlib.sha256()
    for piece in body.iter_chunks(MIB):
        digest.update(piece)
    return digest.hexdigest()


@pytest.mark.time_limit(120)
def test_200_mib(bucket, mount):
    mounted = mount(bucket)
    digest_written = hashlib.sha256()
    with open(mounted.path / "large", "wb", buffering=0) as file:
        for number in range(200):
            piece = block(number)
            digest_written.update(piece)
            file.write(piece)
    assert os.stat(mounted.path / "large").st_size == 200 * MIB
    assert digest_of_object(bucket, "large") == digest_written.hexdigest()
    # It went in parts.
    assert "-" in bucket.head("large")["ETag"]
    eventually(lambda: bucket.uploads() == [], "no upload is left")
    mounted.restart()
    assert digest(mounted.path / "large") == digest_written.hexdigest()


@pytest.fixture
def large(bucket):
    """An object of 64 MiB made by another client, and its bytes."""
    content = bytearray(b"".join(block(number) for number in range(64)))
    bucket.client.upload_fileobj(_Reader(content), bucket.name, "large")
    return content


class _Reader:
    def __init__(self, content):
        self.content, self.position = bytes(content), 0

    def read(self, size=-1):
        end = len(self.content) if size < 0 else self.position + size
        piece = self.content[self.position : end]
        self.position += len(piece)
        return piece


def test_a_patch_of_4_kib(large, bucket, mount):
    mounted = mount(bucket)
    patch = os.urandom(4096)
    offset = 33 * MIB + 12_345
    with open(mounted.path / "large", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), patch, offset)
        assert os.pread(file.fileno(), 6000, offset - 1000) == large[offset - 1000 : offset] + patch + large[
            offset + 4096 : offset + 5000
        ]
    large[offset : offset + 4096] = patch
    expected = hashlib.sha256(large).hexdigest()
    assert digest_of_object(bucket, "large") == expected
    assert digest(mounted.path / "large") == expected
    mounted.restart()
    assert digest(mounted.path / "large") == expected


def test_patches_at_the_edges_of_parts_and_a_longer_end(large, bucket, mounted):
    edges = [0, 8 * MIB - 1, 8 * MIB, 16 * MIB - 3, 63 * MIB, 64 * MIB - 1]
    with open(mounted / "large", "r+b", buffering=0) as file:
        for offset in edges:
            os.pwrite(file.fileno(), b"EDGE!", offset)
            large[offset : offset + 5] = b"EDGE!"
        os.pwrite(file.fileno(), b"far", 66 * MIB)
    large += bytes(66 * MIB - len(large)) + b"far"
    assert digest_of_object(bucket, "large") == hashlib.sha256(large).hexdigest()
    assert digest(mounted / "large") == hashlib.sha256(large).hexdigest()


@pytest.mark.parametrize("size", [1, 8 * MIB, 20 * MIB + 7])
def test_truncation_of_a_large_object(size, large, bucket, mounted):
    os.truncate(mounted / "large", size)
    assert digest_of_object(bucket, "large") == hashlib.sha256(large[:size]).hexdigest()
    assert digest(mounted / "large") == hashlib.sha256(large[:size]).hexdigest()


def test_append_to_a_large_object(large, bucket, mounted):
    with open(mounted / "large", "ab") as file:
        file.write(b"the end")
    assert digest_of_object(bucket, "large") == hashlib.sha256(large + b"the end").hexdigest()


def test_random_reads(large, mounted):
    source = random.Random(3)
    with open(mounted / "large", "rb", buffering=0) as file:
        for _ in range(150):
            offset = source.randrange(len(large))
            count = source.choice([1, 100, 4096, 65_536, 700_000])
            assert os.pread(file.fileno(), count, offset) == large[offset : offset + count]


def test_copies_and_dd(large, bucket, mounted, tmp_path):
    run("cp", "--sparse=always", mounted / "large", mounted / "copy")
    run("cmp", mounted / "large", mounted / "copy")
    (tmp_path / "patch").write_bytes(os.urandom(3 * MIB))
    run("dd", f"if={tmp_path}/patch", f"of={mounted}/copy", "bs=512K", "seek=30", "conv=notrunc", "status=none")
    large[15 * MIB : 18 * MIB] = (tmp_path / "patch").read_bytes()
    assert digest_of_object(bucket, "copy") == hashlib.sha256(large).hexdigest()


def test_rename_of_a_large_object(large, bucket, mount):
    mounted = mount(bucket)
    os.rename(mounted.path / "large", mounted.path / "renamed")
    assert bucket.keys() == ["renamed"]
    mounted.restart()
    assert digest(mounted.path / "renamed") == hashlib.sha256(large).hexdigest()


def test_times_of_a_large_file_are_kept(mounted, tmp_path):
    """Its first parts leave before anybody knows them."""
    (tmp_path / "large").write_bytes(os.urandom(20 * MIB))
    os.utime(tmp_path / "large", ns=(10**18, 10**18 + 1))
    os.chmod(tmp_path / "large", 0o600)
    run("cp", "-p", tmp_path / "large", mounted / "large")
    status = os.stat(mounted / "large")
    assert (status.st_mtime_ns, status.st_mode) == (10**18 + 1, 0o100600)


def test_size_at_the_bounds_of_a_part(bucket, mounted):
    for size in (8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB):
        content = random.Random(size).randbytes(size)
        (mounted / "file").write_bytes(content)
        assert bucket.get("file") == content
        assert (mounted / "file").read_bytes() == content
