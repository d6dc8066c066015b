"""The server of the benchmarks against a client that was not written for it: what it measures must be S3."""

import base64
import hashlib
import os
import re

import pytest
from botocore.exceptions import ClientError

from support.commands import eventually
from support.responder import BUCKET, Responder

PART = 5 << 20


@pytest.fixture(scope="module")
def responder(tmp_path_factory):
    made = Responder(tmp_path_factory.mktemp("responder"))
    yield made
    made.stop()


@pytest.fixture(params=["when_required", "when_supported"])
def client(request, responder):
    """With and without checksums in trailers, which change how bodies are framed."""
    return responder.client(request_checksum_calculation=request.param, response_checksum_validation=request.param)


def code_of(call, **options):
    with pytest.raises(ClientError) as caught:
        call(**options)
    return caught.value.response["Error"]["Code"]


def body_of(client, key, **options):
    return client.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def test_objects(client):
    body = os.urandom(300_000)
    key = "some folder/ä+%&<>'\" name"
    put = client.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="text/plain", Metadata={"mode": "33188"})
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    head = client.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentLength"] == len(body)
    assert (head["ContentType"], head["Metadata"], head["ETag"]) == ("text/plain", {"mode": "33188"}, put["ETag"])
    assert body_of(client, key) == body
    assert body_of(client, key, Range="bytes=262143-262145") == body[262143:262146]
    assert body_of(client, key, Range="bytes=-7") == body[-7:]
    assert code_of(client.get_object, Bucket=BUCKET, Key=key, Range="bytes=300000-") == "InvalidRange"
    client.delete_object(Bucket=BUCKET, Key=key)
    assert code_of(client.get_object, Bucket=BUCKET, Key=key) == "NoSuchKey"
    assert code_of(client.get_object, Bucket="none", Key=key) == "NoSuchBucket"


def test_conditions(client):
    first = client.put_object(Bucket=BUCKET, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    second = client.put_object(Bucket=BUCKET, Key="k", Body=b"2", IfMatch=first)["ETag"]
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Body=b"3", IfMatch=first) == "PreconditionFailed"
    assert code_of(client.get_object, Bucket=BUCKET, Key="k", IfMatch=first) == "PreconditionFailed"
    assert code_of(client.get_object, Bucket=BUCKET, Key="k", IfNoneMatch=second) == "304"
    assert body_of(client, "k", IfMatch=second) == b"2"
    client.delete_object(Bucket=BUCKET, Key="k")
    assert code_of(client.put_object, Bucket=BUCKET, Key="k", Body=b"3", IfMatch=second) == "NoSuchKey"


def test_multipart(client):
    source = os.urandom(PART + 100_000)
    tag = client.put_object(Bucket=BUCKET, Key="source", Body=source)["ETag"]
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="whole", Metadata={"uid": "1"})["UploadId"]
    named = {"Bucket": BUCKET, "Key": "whole", "UploadId": upload}
    copy = {"CopySource": f"{BUCKET}/source", "CopySourceRange": f"bytes=1-{PART}"}
    assert (
        code_of(client.upload_part_copy, **named, PartNumber=1, **copy, CopySourceIfMatch='"other"')
        == "PreconditionFailed"
    )
    copied = client.upload_part_copy(**named, PartNumber=1, **copy, CopySourceIfMatch=tag)["CopyPartResult"]
    sent = client.upload_part(**named, PartNumber=2, Body=b"tail")
    parts = [{"PartNumber": 1, "ETag": copied["ETag"]}, {"PartNumber": 2, "ETag": sent["ETag"]}]

    listed = client.get_paginator("list_parts").paginate(**named, PaginationConfig={"PageSize": 1})
    assert [(p["PartNumber"], p["Size"]) for page in listed for p in page["Parts"]] == [(1, PART), (2, 4)]
    uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix="who")["Uploads"]
    assert [(u["Key"], u["UploadId"]) for u in uploads] == [("whole", upload)]

    wrong = {"Parts": parts[::-1]}
    assert code_of(client.complete_multipart_upload, **named, MultipartUpload=wrong) == "InvalidPartOrder"
    done = client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    sums = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert done["ETag"] == f'"{hashlib.md5(sums).hexdigest()}-2"'
    client.delete_object(Bucket=BUCKET, Key="source")
    assert body_of(client, "whole") == source[1 : PART + 1] + b"tail"
    assert client.head_object(Bucket=BUCKET, Key="whole")["Metadata"] == {"uid": "1"}

    upload = client.create_multipart_upload(Bucket=BUCKET, Key="whole")["UploadId"]
    named["UploadId"] = upload
    sent = client.upload_part(**named, PartNumber=1, Body=b"new")
    parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    assert (
        code_of(client.complete_multipart_upload, **named, MultipartUpload=parts, IfNoneMatch="*")
        == "PreconditionFailed"
    )
    client.abort_multipart_upload(**named)
    assert code_of(client.upload_part, **named, PartNumber=1, Body=b"") == "NoSuchUpload"
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)
    client.delete_object(Bucket=BUCKET, Key="whole")


def test_copies(client):
    tag = client.put_object(Bucket=BUCKET, Key="a", Body=b"body", Metadata={"mode": "1"})["ETag"]
    source = {"Bucket": BUCKET, "CopySource": f"{BUCKET}/a"}
    client.copy_object(**source, Key="b", CopySourceIfMatch=tag)
    assert code_of(client.copy_object, **source, Key="b", CopySourceIfMatch='"x"') == "PreconditionFailed"
    assert code_of(client.copy_object, **source, Key="a") == "InvalidRequest"
    client.copy_object(**source, Key="a", Metadata={"mode": "2"}, MetadataDirective="REPLACE")
    found = [client.head_object(Bucket=BUCKET, Key=key)["Metadata"]["mode"] for key in "ab"]
    assert (found, body_of(client, "b")) == (["2", "1"], b"body")
    answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "<none>"}]})
    assert {entry["Key"] for entry in answer["Deleted"]} == {"a", "b", "<none>"}


def test_listings(client):
    keys = ["list/a", "list/a-/x", "list/a/x", "list/a/y", "list/b c", "list/é+%", "list/z/1", "list/z/2"]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    in_order = sorted(keys, key=str.encode)
    for name in ("list_objects", "list_objects_v2"):
        for size in (1, 2, 3, 1000):
            pages = client.get_paginator(name).paginate(
                Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": size}
            )
            found = [entry for page in pages for entry in page.get("Contents", [])]
            assert [entry["Key"] for entry in found] == in_order
            assert [entry["Size"] for entry in found] == [len(key.encode()) for key in in_order]
            pages = client.get_paginator(name).paginate(
                Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": size}
            )
            pages = list(pages)
            assert [entry["Key"] for page in pages for entry in page.get("Contents", [])] == [
                "list/a", "list/b c", "list/é+%",
            ]
            assert [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])] == [
                "list/a-/", "list/a/", "list/z/",
            ]
    after = client.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="/", StartAfter="list/a/x")
    assert [entry["Prefix"] for entry in after["CommonPrefixes"]] == ["list/a/", "list/z/"]
    client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    assert "Contents" not in client.list_objects_v2(Bucket=BUCKET)


def test_buckets(client):
    client.create_bucket(Bucket="another")
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {BUCKET, "another"}
    client.put_object(Bucket="another", Key="k", Body=b"")
    assert code_of(client.delete_bucket, Bucket="another") == "BucketNotEmpty"
    client.delete_object(Bucket="another", Key="k")
    client.delete_bucket(Bucket="another")
    assert code_of(client.head_bucket, Bucket="another") == "404"
    assert client.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None


def test_settings(responder, client):
    assert responder.control("?delay=20ms&bandwidth=1Gbit/s&tags=opaque")["delay_ns"] == "20000000"
    try:
        settings = responder.control()
        assert (settings["bandwidth_bytes_per_second"], settings["opaque_tags"]) == ("125000000", "true")
        assert "opaque" in client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * 1_000_000)["ETag"]
        digest = hashlib.md5(b"2").digest()
        encoded = base64.b64encode(digest).decode()
        given = client.put_object(Bucket=BUCKET, Key="k", Body=b"2", ContentMD5=encoded)["ETag"]
        assert given == f'"{digest.hex()}"'
    finally:
        responder.control("?delay=0&bandwidth=0&tags=md5")
        client.delete_object(Bucket=BUCKET, Key="k")


def test_full_memory(tmp_path):
    responder = Responder(tmp_path, "--memory-limit", "8M")
    try:
        client = responder.client()
        client.put_object(Bucket=BUCKET, Key="first", Body=bytes(6 << 20))
        assert code_of(client.put_object, Bucket=BUCKET, Key="second", Body=bytes(6 << 20)) == "SlowDown"
        client.delete_object(Bucket=BUCKET, Key="first")
        client.put_object(Bucket=BUCKET, Key="second", Body=bytes(6 << 20))
        client.delete_object(Bucket=BUCKET, Key="second")
        eventually(lambda: responder.control()["memory_used"] == "0", "what nobody needs is given back")
    finally:
        responder.stop()
