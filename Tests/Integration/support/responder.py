"""The S3 server in memory that was written for the benchmarks, for tests that need a fast one, or one with a delay."""

import re
import subprocess
import urllib.request

import boto3
from botocore.config import Config

from support.commands import TIME_LIMIT, eventually
from support.servers import REGION, required

BUCKET = "bench"


class Responder:
    """A running responder, and a client of it."""

    def __init__(self, directory, *options):
        self.variables = directory / "environment"
        arguments = [required("WAYSFS_RESPONDER"), "--bucket", BUCKET, "--env-file", self.variables, *options]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        eventually(lambda: self.variables.exists() or self.process.poll() is not None, "the responder is ready")
        assert self.process.poll() is None, "the responder did not start"
        self.environment = dict(re.findall(r"export (\w+)=(.*)", self.variables.read_text()))

    def client(self, **options):
        return boto3.client(
            "s3",
            endpoint_url=self.environment["WAYSFS_ENDPOINT"],
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **options),
        )

    def control(self, query=""):
        request = urllib.request.Request(
            f"{self.environment['WAYSFS_RESPONDER_CONTROL']}/__responder{query}", method="PUT" if query else "GET"
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            return dict(line.split(" ", 1) for line in response.read().decode().splitlines())

    def stop(self):
        self.process.terminate()
        assert self.process.wait(TIME_LIMIT) == 0
        assert not self.variables.exists()
