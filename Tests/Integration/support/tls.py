"""TLS before a server that speaks plain HTTP, with a certificate that no system trusts."""

import contextlib
import select
import socket
import ssl
import threading
import urllib.parse

from support.commands import run


class TLSFront:
    """Hands every connection on to a server; `authority` is the file with the certificate, `endpoint` its address."""

    def __init__(self, target, directory):
        self.target = urllib.parse.urlsplit(target)
        self.authority = directory / "authority.pem"
        key = directory / "key.pem"
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=waysfs-test", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", self.authority),
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.authority, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            with self.context.wrap_socket(connection, server_side=True) as client:
                with socket.create_connection((self.target.hostname, self.target.port)) as server:
                    _relay(client, server)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def _relay(client, server):
    """Both ways, on one thread: a connection with TLS is not for two."""
    while True:
        # What is decrypted already is not in the socket any more.
        readable = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source, target in [(client, server), (server, client)]:
            if source in readable:
                piece = source.recv(65_536)
                if not piece:
                    return
                target.sendall(piece)
