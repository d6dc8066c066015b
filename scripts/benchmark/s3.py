"""A small S3 client with nothing but the standard library: it prepares what is read, and looks at what was stored."""

import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import re
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

    def _headers(self, method, path, query):
        now = datetime.datetime.now(datetime.timezone.utc)
        time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        headers = {"host": self._host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": time}
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

    def _send(self, method, key, query=None, body=b"", accept=(200, 204)):
        """Sends a request; its response must be read before the thread sends the next."""
        path = f"/{self.name}/{urllib.parse.quote(key)}" if key else f"/{self.name}"
        pairs = sorted((query or {}).items())
        encoded = "&".join(f"{name}={urllib.parse.quote(str(value), safe='')}" for name, value in pairs)
        target = f"{path}?{encoded}" if encoded else path
        for attempt in range(3):
            connection = getattr(self._thread, "connection", None)
            if connection is None:
                connection = self._thread.connection = http.client.HTTPConnection(self._host, timeout=120)
            try:
                connection.request(method, target, body, self._headers(method, path, encoded))
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

    def put_content(self, key, content):
        """Stores an object in parts, four at a time."""
        _, body = self._call("POST", key, {"uploads": ""})
        upload = xml.etree.ElementTree.fromstring(body).findtext("{*}UploadId")

        def put_part(number):
            part = content.read((number - 1) * PART, PART)
            response, _ = self._call("PUT", key, {"partNumber": number, "uploadId": upload}, part)
            return f"<Part><PartNumber>{number}</PartNumber><ETag>{response.getheader('ETag')}</ETag></Part>"

        parts = self.parallel(put_part, range(1, -(-content.size // PART) + 1), threads=4)
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
        found, query = {}, {"list-type": 2, "prefix": prefix}
        while True:
            _, body = self._call("GET", "", query)
            page = xml.etree.ElementTree.fromstring(body)
            for entry in page.iterfind("{*}Contents"):
                found[entry.findtext("{*}Key")] = int(entry.findtext("{*}Size"))
            token = page.findtext("{*}NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token

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
