"""Servers that misbehave: an HTTP proxy before a real one, following a script, and one that does not speak HTTP."""

import http.client
import os
import socket
import socketserver
import struct
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.commands import eventually


@dataclass
class Request:
    method: str
    path: str
    headers: list
    body: bytes

    @property
    def query(self):
        return urllib.parse.urlsplit(self.path).query

    @property
    def key(self):
        """The object's key; empty for a request about the bucket."""
        path = urllib.parse.urlsplit(self.path).path
        return urllib.parse.unquote(path.lstrip("/").partition("/")[2])


@dataclass
class Answer:
    status: int = 200
    headers: list = field(default_factory=list)
    body: bytes = b""
    # Bytes of the body that are sent before the connection is closed; None: all, and it stays open.
    cut: int | None = None
    # Whether it is reset then.
    resets: bool = False
    # For bodies too large to hold: pieces in place of `body`; the headers name the length.
    pieces: object = None


# In place of an answer: the connection is reset.
RESET = object()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Heads are written in one go with the beginning of the body.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # The client has died in the middle of it.
            self.close_connection = True
            return
        request = Request(self.command, self.path, self.headers.items(), body)
        proxy = self.server.proxy
        proxy.requests.append(request)
        try:
            answer = proxy.script(request, lambda: proxy.forward(request))
        except Exception as error:
            # A mistake in a test must not pass for a fault of the server.
            if proxy.server is not None:
                proxy.errors.append(error)
            answer = None
        if answer is None or answer is RESET:
            self.close_connection = True
            if answer is RESET:
                self._reset()
            return
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            self.send_header(name, value)
        if "content-length" not in names and answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if request.method != "HEAD":
            for piece in answer.pieces or [answer.body if answer.cut is None else answer.body[: answer.cut]]:
                self.wfile.write(piece)
                self.wfile.flush()
        self.wfile.flush()
        if answer.cut is not None:
            self.close_connection = True
            if answer.resets:
                self._reset()

    def _reset(self):
        # Without lingering, close sends RST; what holds the socket besides finds a closed one.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, *arguments):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # More than the connections of a mount.
    request_queue_size = 256

    def get_request(self):
        connection, address = super().get_request()
        self.proxy.connections.append(connection)
        self.proxy.count(1)
        return connection, address

    def shutdown_request(self, request):
        super().shutdown_request(request)
        self.proxy.count(-1)

    def handle_error(self, request, address):
        pass


class Proxy:
    """An HTTP server on loopback. `script(request, forward)` gives the answer; None closes the connection, RESET
    resets it.

    It forwards to a real server unless the script says otherwise. `stop` makes it unreachable, `start` brings it back
    at the same address.
    """

    def __init__(self, target=None):
        self.target = target and urllib.parse.urlsplit(target)
        self.script = lambda request, forward: forward()
        self.requests = []
        self.errors = []
        self.connections = []
        # Connections that were taken and have not ended.
        self.served = 0
        self.lock = threading.Lock()
        # Nobody else may get the port while the server is stopped.
        self.reserved, self.port = _reserved_port()
        self.server = None
        self.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.server = _Server(("127.0.0.1", self.port), _Handler)
        self.server.proxy = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        self.server = None
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections = []
        self.thread.join()

    def count(self, change):
        with self.lock:
            self.served += change

    def settle(self):
        """Waits until everything is worked off that clients sent who are dead by now.

        A client that is killed leaves requests behind that nobody has read yet, and what is read later follows the
        script of then.
        """
        # Connections are taken in order: behind this one there is none of theirs.
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        eventually(lambda: self.served == 0, "all connections have ended")

    def forward(self, request):
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=60)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            response = connection.getresponse()
            body = response.read()
            skipped = {"connection", "transfer-encoding"} | ({"content-length"} if request.method != "HEAD" else set())
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in skipped]
            return Answer(response.status, headers, body)
        finally:
            connection.close()


class RawServer:
    """Sends the same bytes to everybody who connects, and closes; without bytes it says nothing and does not close."""

    def __init__(self, payload):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                if payload:
                    self.request.recv(65_536)
                    self.request.sendall(payload)
                else:
                    while self.request.recv(65_536):
                        pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def _reserved_port():
    """A socket that keeps a port for its owner, and the port: only a server that allows it can listen there."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved, reserved.getsockname()[1]


_unused = []


def unused_endpoint():
    """An address where nobody listens, to the end of the run."""
    reserved, port = _reserved_port()
    _unused.append(reserved)
    return f"http://127.0.0.1:{port}"
