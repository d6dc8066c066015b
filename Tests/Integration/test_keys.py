"""Keys that cannot be file names follow the rule: passed over, reported once, never breaking what is beside them."""

import os

import pytest
from support.commands import eventually
from support.errors import fails
from support.processes import is_alive


@pytest.fixture
def bucket(new_bucket):
    """On moto, which holds keys as they are."""
    return new_bucket("moto")


def test_empty_components(bucket, mount):
    for key in ("good", "a//b", "/leading", "trailing//", "directory/x", "directory//y", "//"):
        bucket.put(key, key.encode())
    mounted = mount(bucket)
    assert sorted(os.listdir(mounted.path)) == ["a", "directory", "good", "trailing"]
    assert os.listdir(mounted.path / "directory") == ["x"]
    assert os.listdir(mounted.path / "a") == []
    assert (mounted.path / "good").read_bytes() == b"good"
    eventually(lambda: "cannot be a file name" in mounted.log_text(), "it is reported")
    reported = mounted.log_text().count("cannot be a file name")
    os.listdir(mounted.path)
    assert mounted.log_text().count("cannot be a file name") == reported
    # What is not shown is not empty, and must not be removed unseen.
    with fails("ENOTEMPTY"):
        (mounted.path / "a").rmdir()
    assert bucket.get("a//b") == b"a//b"


def test_an_object_beside_a_directory_of_its_name(bucket, mount):
    """The directory is shown; the object stays as it is."""
    for key in ("a", "a/b", "c"):
        bucket.put(key, key.encode())
    mounted = mount(bucket)
    assert sorted(os.listdir(mounted.path)) == ["a", "c"]
    assert (mounted.path / "a").is_dir() and (mounted.path / "a" / "b").read_bytes() == b"a/b"
    eventually(lambda: "hidden by a directory" in mounted.log_text(), "it is reported")
    (mounted.path / "a" / "new").write_text("new")
    os.rename(mounted.path / "a" / "b", mounted.path / "moved")
    assert bucket.get("a") == b"a"
    assert (mounted.path / "a").is_dir()


def test_components_over_255_bytes(bucket, mount):
    for key in ("x" * 256, "y" * 255, "d" * 300 + "/file", "good/" + "z" * 300, "good/file"):
        bucket.put(key, b"x")
    mounted = mount(bucket)
    assert sorted(os.listdir(mounted.path)) == ["good", "y" * 255]
    assert os.listdir(mounted.path / "good") == ["file"]
    with fails("ENAMETOOLONG"):
        os.stat(mounted.path / ("x" * 256))


def listing(keys, prefixes=()):
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>3</Size><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    entries += "".join(f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" for prefix in prefixes)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


def test_dots_and_control_characters(bucket, mount, proxy):
    """No client library sends some of these; a server may list them."""
    from support.proxy import Answer

    middle = proxy(bucket.server)
    bucket.put("good", b"yes")
    keys = [".", "..", "../../etc/passwd", "good", "nul%00byte", "a/../b", "bad%FFutf8", "wrong%zzescape"]

    def script(request, forward):
        if request.method != "GET" or "list-type=2" not in request.query or "prefix=&" not in request.query + "&":
            return forward()
        if "delimiter" not in request.query:
            return forward()
        page = listing(keys[:4] + keys[4:5], ["../", "./", "/", "fine/"])
        return Answer(200, [], page.replace(b"<IsTruncated>", b"<EncodingType>url</EncodingType><IsTruncated>"))

    middle.script = script
    # The listing's tags are made up.
    mounted = mount(bucket, "--attributes", "always", endpoint=middle.endpoint)
    assert sorted(os.listdir(mounted.path)) == ["fine", "good"]
    assert (mounted.path / "good").read_bytes() == b"yes"
    assert is_alive(mounted.pid)
    before = (tuple(sorted(os.listdir(mounted.path / ".."))), os.getcwd())
    assert "fine" not in before[0]


def test_markers_of_other_tools(bucket, mount):
    """`name_$folder$` of Hadoop is a file like any other; a marker that has content does not lose it."""
    bucket.put("hadoop_$folder$", b"")
    bucket.put("full/", b"a marker with content")
    mounted = mount(bucket)
    assert sorted(os.listdir(mounted.path)) == ["full", "hadoop_$folder$"]
    assert os.listdir(mounted.path / "full") == []
    (mounted.path / "full" / "file").write_text("x")
    assert bucket.get("full/") == b"a marker with content"
