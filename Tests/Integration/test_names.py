"""Names go both ways byte by byte: a file's name is the object's key."""

import os
import unicodedata

import pytest
from support.errors import fails

NAMES = {
    "spaces": " two  spaces and one at each end ",
    "percent": "100% %41 %2F %zz %",
    "plus": "a+b c",
    "ampersand": "a&b&amp;",
    "question": "what?x=1&y",
    "hash": "no. #1",
    "equals": "a=b==",
    "star": "*[a-z]{x}",
    "quotes": "'single' \"double\" `back`",
    "angles": "<tag/>".replace("/", "|"),
    "backslash": "back\\slash\\n",
    "newline": "two\nlines",
    "tab": "tab\there",
    "control": "bell\a escape\x1b",
    "colon": "c:d;e,f@g!$~^()",
    "dots": "...dots..",
    "tilde": "~",
    "dash": "-rf",
    "nfc": unicodedata.normalize("NFC", "café ÅΩ"),
    "nfd": unicodedata.normalize("NFD", "café ÅΩ"),
    "cjk": "日本語 文件",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "right to left": "שלום",
    "255 bytes": "x" * 255,
    "255 bytes in two-byte characters": "é" * 127 + "e",
    "255 bytes in four-byte characters": "𝒳" * 63 + "abc",
}
# What a server cannot hold, by boto3 neither: SeaweedFS makes a slash of a backslash, moto does not find its route.
BEYOND = {"seaweedfs": {"backslash"}, "moto": {"newline"}}


def names_for(server):
    return {what: name for what, name in NAMES.items() if what not in BEYOND[server]}


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
@pytest.mark.parametrize("directory", ["", "a dir?/"], ids=["top", "below"])
def test_made_in_the_mount(server, directory, new_bucket, mount):
    bucket = new_bucket(server)
    mounted = mount(bucket)
    (mounted.path / directory).mkdir(exist_ok=True)
    names = names_for(server)
    for what, name in names.items():
        (mounted.path / directory / name).write_text(what)
    keys = {directory + name for name in names.values()}
    assert set(bucket.keys()) - {directory} == keys
    for what, name in names.items():
        assert bucket.get(directory + name) == what.encode()
    mounted.restart()
    assert set(os.listdir(mounted.path / directory)) == set(names.values())
    for what, name in names.items():
        assert (mounted.path / directory / name).read_text() == what


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_put_by_another_client(server, new_bucket, mount):
    bucket = new_bucket(server)
    names = names_for(server)
    for what, name in names.items():
        bucket.put(name, what.encode())
        bucket.put(f"as directory/{name}", b"x")
    mounted = mount(bucket)
    assert set(os.listdir(mounted.path)) == set(names.values()) | {"as directory"}
    for what, name in names.items():
        assert (mounted.path / name).read_text() == what
        os.rename(mounted.path / name, mounted.path / "renamed")
        assert bucket.get("renamed") == what.encode()
        os.rename(mounted.path / "renamed", mounted.path / name)
        os.unlink(mounted.path / name)
    assert os.listdir(mounted.path) == ["as directory"]


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_directories_with_such_names(server, new_bucket, mount):
    bucket = new_bucket(server)
    mounted = mount(bucket)
    names = [name for name in names_for(server).values() if len(name.encode()) < 250]
    for name in names:
        (mounted.path / name).mkdir()
        (mounted.path / name / "file").write_text(name, encoding="utf-8", newline="")
    assert set(bucket.keys()) == {f"{name}/" for name in names} | {f"{name}/file" for name in names}
    mounted.restart()
    for name in names:
        assert os.listdir(mounted.path / name) == ["file"]
        (mounted.path / name / "file").unlink()
        (mounted.path / name).rmdir()
    assert bucket.keys() == []


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_composed_and_decomposed_names_are_two_files(server, new_bucket, mount):
    bucket = new_bucket(server)
    mounted = mount(bucket)
    composed, decomposed = NAMES["nfc"], NAMES["nfd"]
    (mounted.path / composed).write_text("composed")
    assert not (mounted.path / decomposed).exists()
    (mounted.path / decomposed).write_text("decomposed")
    assert sorted(os.listdir(mounted.path)) == sorted([composed, decomposed])
    mounted.restart()
    assert (mounted.path / composed).read_text() == "composed"
    (mounted.path / composed).unlink()
    assert os.listdir(mounted.path) == [decomposed]
    assert bucket.keys() == [decomposed]


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "𝒳" * 64], ids=["ascii", "two bytes", "four bytes"])
def test_names_over_255_bytes_are_refused(name, mounted):
    for use in (
        lambda path: path.write_text("x"),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("x"),
        lambda path: os.stat(path),
    ):
        with fails("ENAMETOOLONG"):
            use(mounted / name)


def test_keys_over_1024_bytes_are_refused(bucket, mounted):
    directory = mounted
    for _ in range(4):
        directory = directory / ("d" * 200)
        directory.mkdir()
    room = 1024 - len(os.fsencode(directory.relative_to(mounted))) - 1
    with fails("ENAMETOOLONG"):
        (directory / ("f" * (room + 1))).write_text("x")
    name = "f" * (room - 1)
    (directory / name).write_text("fits")
    assert bucket.get(f"{directory.relative_to(mounted)}/{name}") == b"fits"


def test_a_name_that_is_not_utf8_is_refused(mounted):
    """S3 keys are UTF-8; other bytes would come back as another name."""
    with fails("EILSEQ", "EINVAL"):
        open(os.fsencode(mounted) + b"/\xff\xfe", "wb").close()
    assert os.listdir(mounted) == []
