"""The S3 servers, and buckets on them as another client sees them."""

import os
import uuid
from dataclasses import dataclass

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from support.commands import eventually

REGION = "us-east-1"


def others(keys):
    """Keys without the mark of the root, and without the scratch objects that a mount may be trying the server with."""
    own = (".waysfs-probe-", ".waysfs-attributes")
    return [key for key in keys if not key.rpartition("/")[2].startswith(own)]


def required(name):
    """An environment variable that scripts/test sets; without it nothing can be tested, which is a failure."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run the tests with 'make test'")
    return value


@dataclass(frozen=True)
class Server:
    """An S3 server: `name` is how tests call it."""

    name: str
    endpoint: str

    @classmethod
    def named(cls, name):
        return cls(name, required(f"WAYSFS_TEST_{name.upper()}"))

    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=required("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 3},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=16,
            ),
        )


class Bucket:
    """A bucket of one test, used with boto3: the other client."""

    def __init__(self, server, client):
        self.server = server
        self.client = client
        self.name = f"waysfs-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=self.name)

    def put(self, key, body=b"", **options):
        return self.client.put_object(Bucket=self.name, Key=key, Body=body, **options)

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def head(self, key):
        """The answer to HEAD; None when there is no such object."""
        try:
            return self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def metadata(self, key):
        return self.head(key)["Metadata"]

    def delete(self, key):
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix=""):
        """All keys, but for the mark of the root, and the scratch object that a mount may be trying the server with."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return others([entry["Key"] for page in pages for entry in page.get("Contents", [])])

    def uploads(self):
        """Keys of multipart uploads that were begun and neither completed nor aborted, but for a mount's own trial."""
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        return others([upload["Key"] for upload in answer.get("Uploads", [])])

    def remove(self):
        """Takes the bucket away with all that is in it."""
        eventually(self._is_removed, f"{self.name} is empty and gone")

    def _is_removed(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        # XML cannot carry these.
        for key in [key for key in keys if not key.isprintable()]:
            self.delete(key)
            keys.remove(key)
        for start in range(0, len(keys), 1000):
            objects = [{"Key": key} for key in keys[start : start + 1000]]
            self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
        try:
            self.client.delete_bucket(Bucket=self.name)
        except ClientError as error:
            # What a mount that was killed had sent may arrive only now.
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            return False
        return True
