"""How fast the responder is by itself: bare sockets against it, so that its limit is known beside what is measured
with it."""

import base64
import hashlib
import http.client
import multiprocessing
import random
import socket
import time
import urllib.parse

CONNECTIONS = 4
PART = 8 << 20


class _Client:
    """One connection, and one object of the size of a part."""

    def __init__(self, running, number):
        address = urllib.parse.urlsplit(running.environment["WAYSFS_ENDPOINT"])
        self._socket = socket.create_connection((address.hostname, address.port))
        self._path = f"/{running.bucket.name}/speed-{number}"
        self._host = address.netloc

    def _send(self, method, headers):
        lines = [f"{method} {self._path} HTTP/1.1", f"Host: {self._host}", *headers, "", ""]
        self._socket.sendall("\r\n".join(lines).encode())

    def _receive_head(self, status):
        """Reads the head of an answer; returns what has come of its body."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self._socket.recv(65536)
            if not piece:
                raise http.client.BadStatusLine(received.decode(errors="replace"))
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 %d " % status):
            raise http.client.BadStatusLine(head.decode(errors="replace"))
        return rest

    def put(self, body, digest):
        self._send("PUT", [f"Content-Length: {len(body)}", f"Content-MD5: {digest}"])
        self._socket.sendall(body)
        self._receive_head(200)

    def get(self, buffer):
        self._send("GET", [f"Range: bytes=0-{PART - 1}"])
        left = PART - len(self._receive_head(206))
        while left:
            count = self._socket.recv_into(buffer, left, socket.MSG_WAITALL)
            if not count:
                raise http.client.IncompleteRead(b"", left)
            left -= count


def _put(running, number, parts, body, digest):
    client = _Client(running, number)
    for _ in range(parts):
        client.put(body, digest)


def _get(running, number, parts, *_):
    client, buffer = _Client(running, number), memoryview(bytearray(PART))
    for _ in range(parts):
        client.get(buffer)


def measure(running, size):
    """Bytes a second that several connections store as parts with a digest, and then read again as ranges."""
    body = random.Random(1).randbytes(PART)
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    parts = max(1, size // PART // CONNECTIONS)
    speeds = {}
    for name, work in (("put", _put), ("get", _get)):
        # Processes, since the threads of one Python would wait for each other.
        clients = [
            multiprocessing.Process(target=work, args=(running, number, parts, body, digest))
            for number in range(CONNECTIONS)
        ]
        begin = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if any(client.exitcode for client in clients):
            raise OSError("a client of the responder has failed")
        speeds[name] = CONNECTIONS * parts * PART / (time.perf_counter() - begin)
    running.bucket.delete([f"speed-{number}" for number in range(CONNECTIONS)])
    return speeds
