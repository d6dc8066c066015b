"""A sandbox of its own for a test: an S3 server and a control plane whose keys the test may change."""

import json
import signal
import subprocess
import urllib.request
import uuid

import boto3
from botocore.config import Config

from support.commands import TIME_LIMIT, eventually
from support.servers import REGION, required


class Sandbox:
    """`environment` has the API key and the address of the control plane, and nothing else."""

    def __init__(self, directory):
        self.first, self.second = "first-bucket", "second-bucket"
        self.log = (directory / "sandbox.log").open("w+")
        variables = directory / "sandbox.env"
        self.process = subprocess.Popen(
            [
                *(required("WAYSFS_SANDBOX"), "--weed", required("WAYSFS_WEED"), "--fresh"),
                *("--directory", directory / "sandbox", "--env-file", variables),
                *("--bucket", self.first, "--bucket", self.second),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        eventually(lambda: variables.exists() or self.process.poll() is not None, "the sandbox is ready")
        assert self.process.poll() is None, (directory / "sandbox.log").read_text()
        lines = [line.removeprefix("export ").partition("=") for line in variables.read_text().splitlines()]
        values = {name: value for name, _, value in lines}
        self.endpoint = values["WAYSFS_ENDPOINT"]
        self.api_url = values["WAYSCLOUD_API_URL"]
        self.api_key = values["WAYSCLOUD_API_KEY"]
        self.pairs = [(values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"])]

    @property
    def environment(self):
        """For `waysfs`: no key pair."""
        return {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "WAYSCLOUD_API_KEY": self.api_key,
            "WAYSCLOUD_API_URL": self.api_url,
        }

    def call(self, method, path, body=None):
        """Calls the control plane; what it answers, as JSON."""
        request = urllib.request.Request(
            self.api_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.api_key},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIME_LIMIT) as answer:
            return json.load(answer)

    def make_buckets(self):
        """Makes two new ones; `first` and `second` are their names."""
        self.first, self.second = (f"waysfs-{uuid.uuid4().hex[:12]}" for _ in range(2))
        for name in (self.first, self.second):
            self.call("POST", "/v1/storage/buckets", {"bucket_name": name})

    def client(self, pair):
        """Another client of the S3 server."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=pair[0],
            aws_secret_access_key=pair[1],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    @property
    def s3(self):
        return self.client(self.pairs[-1])

    def rotate(self):
        """A new key pair; returns when the server refuses the old one."""
        old = self.client(self.pairs[-1])
        answer = self.call("POST", "/sandbox/rotate")
        self.pairs.append((answer["access_key_id"], answer["secret_access_key"]))

        def is_refused():
            try:
                old.list_buckets()
            except old.exceptions.ClientError as error:
                return error.response["Error"]["Code"] == "InvalidAccessKeyId"
            return False

        eventually(is_refused, "the old key pair is refused")
        self.s3.list_buckets()

    def secrets(self):
        """What must not show anywhere."""
        return [self.api_key, *(secret for _, secret in self.pairs)]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(TIME_LIMIT)
        self.log.close()
