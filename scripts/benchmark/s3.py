"""A small S3 client with nothing but the standard library: it prepares what is read, and looks at what was stored."""

import concurrent.futures
import datetime
import hashlib
import hmac
import html
import http.client
import re
import socket
import threading
import urllib.parse
import xml.etree.ElementTree

PART = 16 << 20


class S3Error(Exception):
    pass


def _sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Bucket:
    """A bucket of a server on loopback (AWS Signature Version 4, path style). May be used by many threads: each
    has its own connection."""

    def __init__(self, environment, name):
        self.name = name
        self._host = urllib.parse.urlsplit(environment["WAYSFS_ENDPOINT"]).netloc
        self._access_key = environment["AWS_ACCESS_KEY_ID"]
        self._secret_key = environment["AWS_SECRET_ACCESS_KEY"]
        self._region = environment["AWS_REGION"]
        self._thread = threading.local()

    def _headers(self, method, path, query, more):
        """The headers of a request, signed: those that it must have, and `more`, whose names are in small letters."""
        now = datetime.datetime.now(datetime.timezone.utc)
        time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        headers = {"host": self._host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": time, **more}
        headers = dict(sorted(headers.items()))
        names = ";".join(headers)
        request = "\n".join(
            [method, path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names]
            + ["UNSIGNED-PAYLOAD"]
        )
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = ("AWS4" + self._secret_key).encode()
        for step in (day, self._region, "s3", "aws4_request"):
            key = _sign(key, step)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={_sign(key, text).hex()}"
        )
        return headers

    def _target(self, key, query):
        """Path and query as they are sent and signed."""
        path = f"/{self.name}/{urllib.parse.quote(key)}" if key else f"/{self.name}"
        pairs = sorted((query or {}).items())
        return path, "&".join(f"{name}={urllib.parse.quote(str(value), safe='')}" for name, value in pairs)

    def request(self, method, key, headers=None, length=0):
        """The head of a request as bytes, for who sends it over a socket from `connect`; `headers` are not signed."""
        path, _ = self._target(key, None)
        fields = self._headers(method, path, "", {}) | {"content-length": length} | (headers or {})
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def connect(self):
        """A connection to the server."""
        return socket.create_connection(self._host.split(":"), timeout=120)

    def _send(self, method, key, query=None, body=b"", accept=(200, 204), headers=None):
        """Sends a request; its response must be read before the thread sends the next."""
        path, encoded = self._target(key, query)
        target = f"{path}?{encoded}" if encoded else path
        for attempt in range(3):
            connection = getattr(self._thread, "connection", None)
            if connection is None:
                connection = self._thread.connection = http.client.HTTPConnection(self._host, timeout=120)
            try:
                connection.request(method, target, body, self._headers(method, path, encoded, headers or {}))
                response = connection.getresponse()
                break
            except (OSError, http.client.HTTPException):
                # The server may have closed a connection that was idle.
                connection.close()
                self._thread.connection = None
                if attempt == 2:
                    raise
        if response.status not in accept:
            raise S3Error(f"{method} {target}: {response.status} {response.read(500).decode(errors='replace')}")
        return response

    def _call(self, *arguments, **options):
        response = self._send(*arguments, **options)
        return response, response.read()

    def put(self, key, body):
        self._call("PUT", key, body=body)

    def put_many(self, objects):
        """Stores many small objects, pairs of key and bytes: requests follow each other without waiting for answers,
        a hundred at a time."""
        objects = list(objects)
        with self.connect() as connection, connection.makefile("rb") as answers:
            for start in range(0, len(objects), 100):
                batch = objects[start : start + 100]
                connection.sendall(
                    b"".join(self.request("PUT", key, length=len(body)) + bytes(body) for key, body in batch)
                )
                for key, _ in batch:
                    self._receive_empty(answers, key)

    @staticmethod
    def _receive_empty(answers, key):
        """Reads an answer to PUT, which has no body."""
        status = answers.readline().split()
        fields = http.client.parse_headers(answers)
        if len(status) < 2 or status[1] != b"200" or int(fields.get("Content-Length", 0)) != 0:
            raise S3Error(f"PUT {key}: {b' '.join(status).decode(errors='replace')}")

    def put_content(self, key, content):
        """Stores an object in parts, four at a time."""

        def put_part(number, query):
            response, _ = self._call("PUT", key, query, content.read((number - 1) * PART, PART))
            return response.getheader("ETag")

        self._put_parts(key, -(-content.size // PART), put_part)

    def copy(self, source, offset, length, key):
        """Makes an object of a range of another, inside the server."""
        headers = {
            "x-amz-copy-source": f"/{self.name}/{urllib.parse.quote(source)}",
            "x-amz-copy-source-range": f"bytes={offset}-{offset + length - 1}",
        }

        def copy_part(_, query):
            _, body = self._call("PUT", key, query, headers=headers)
            return xml.etree.ElementTree.fromstring(body).findtext("{*}ETag")

        self._put_parts(key, 1, copy_part)

    def _put_parts(self, key, count, put_part):
        """A multipart upload. put_part: makes the part of a number with a query, and returns its tag."""
        _, body = self._call("POST", key, {"uploads": ""})
        upload = xml.etree.ElementTree.fromstring(body).findtext("{*}UploadId")
        tags = self.parallel(
            lambda number: put_part(number, {"partNumber": number, "uploadId": upload}), range(1, count + 1), threads=4
        )
        parts = [f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in enumerate(tags, start=1)]
        document = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"
        _, body = self._call("POST", key, {"uploadId": upload}, document.encode())
        if b"<Error" in body:
            raise S3Error(body.decode(errors="replace"))

    def size(self, key):
        """The size of an object; None when there is none."""
        response, _ = self._call("HEAD", key, accept=(200, 404))
        return int(response.getheader("Content-Length")) if response.status == 200 else None

    def etag(self, key):
        """The tag of the version that is there now."""
        return self._call("HEAD", key)[0].getheader("ETag")

    def open(self, key):
        """The body of an object as a stream."""
        return self._send("GET", key)

    def sizes(self, prefix):
        """The objects below a prefix: key and size."""
        found = {}
        for body in self.pages(prefix):
            for entry in xml.etree.ElementTree.fromstring(body).iterfind("{*}Contents"):
                found[entry.findtext("{*}Key")] = int(entry.findtext("{*}Size"))
        return found

    def pages(self, prefix):
        """The pages of the flat listing below a prefix as they come, without a look at more than how it goes on."""
        query = {"list-type": 2, "prefix": prefix}
        while True:
            _, body = self._call("GET", "", query)
            yield body
            token = re.search(rb"<NextContinuationToken>([^<]+)<", body)
            if not token:
                return
            query["continuation-token"] = html.unescape(token[1].decode())

    def delete(self, keys):
        self.parallel(lambda key: self._call("DELETE", key, accept=(200, 204, 404)), keys)

    @staticmethod
    def parallel(work, items, threads=8):
        """Does the work for each item, and returns the results in order."""
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def parse_environment(text):
    """The variables of the file that the sandbox writes: lines of `export NAME=value`."""
    variables = {}
    for name, value in re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE):
        variables[name] = value.strip("'")
    return variables
