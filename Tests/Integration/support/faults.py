"""Ways in which a server fails, and a script for a proxy that makes a share of all requests fail."""

import collections
import random
import threading
import time

from support.proxy import RESET, Answer

# Seconds for which a script holds a request at most: longer than any test lets it.
HELD = 600


def _refusal(status, code):
    body = f"<Error><Code>{code}</Code><Message>made up by a test</Message></Error>".encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


def busy(request, forward):
    """503 before anything was done."""
    return _refusal(503, "SlowDown")


def error(request, forward):
    """500 before anything was done."""
    return _refusal(500, "InternalError")


def reset(request, forward):
    """The connection is reset before anything was done."""
    return RESET


def closed(request, forward):
    """The connection is closed before anything was done."""
    return None


def lost(request, forward):
    """All is done, and the answer does not arrive."""
    forward()
    return None


def lost_for_an_error(request, forward):
    """All is done, and something on the way makes a 500 of the answer."""
    forward()
    return _refusal(500, "InternalError")


def slow(request, forward):
    """The answer takes its time."""
    time.sleep(0.3)
    return forward()


def truncated(request, forward):
    """All is done, and the answer breaks off."""
    answer = forward()
    if request.method == "HEAD" or answer.status == 204:
        return None
    answer.headers = [item for item in answer.headers if item[0].lower() != "content-length"]
    answer.headers.append(("Content-Length", str(len(answer.body) + 10)))
    answer.cut = len(answer.body) // 2
    return answer


def damaged(request, forward):
    """A byte of what was sent is another when it arrives."""
    if request.method != "PUT" or not request.body:
        return forward()
    whole = request.body
    request.body = whole[:-1] + bytes([whole[-1] ^ 1])
    try:
        return forward()
    finally:
        request.body = whole


def wrong_tag(request, forward):
    """All is done, and the answer has the tag of other bytes."""
    answer = forward()
    if request.method == "PUT" and answer.status == 200:
        answer.headers = [
            (name, '"0123456789abcdef0123456789abcdef"' if name.lower() == "etag" else value)
            for name, value in answer.headers
        ]
    return answer


def portal(request, forward):
    """Nothing was done, and a web page says 200."""
    if request.method in ("HEAD", "DELETE"):
        return None
    return Answer(200, [("Content-Type", "text/html")], b"<!DOCTYPE html><html><body>Please log in</body></html>")


KINDS = [busy, error, reset, closed, lost, lost_for_an_error, slow, truncated, damaged, wrong_tag, portal]


class Faults:
    """A script for a proxy: `share` of the requests fail, each in one of the ways. The same seed draws the same."""

    def __init__(self, seed, kinds, share=0.2):
        self.source = random.Random(seed)
        self.kinds, self.share = kinds, share
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        # Key: what happened to the requests that write to it.
        self.history = collections.defaultdict(list)
        # Keys for which nothing but 500 comes.
        self.hopeless = lambda key: False

    def __call__(self, request, forward):
        with self.lock:
            kind = self.source.choice(self.kinds) if self.source.random() < self.share else None
            if request.method in ("PUT", "POST") and self.hopeless(request.key):
                kind = error
            name = kind.__name__ if kind else "well"
            self.counts[name] += 1
            if request.method in ("PUT", "POST"):
                self.history[request.key].append(name)
        return kind(request, forward) if kind else forward()


def is_change(request):
    return request.method in ("PUT", "POST", "DELETE")


def is_copy(request):
    return any(name.lower() == "x-amz-copy-source" for name, _ in request.headers)


def refuse(middle, matches=is_change):
    """From now on the server refuses requests of a kind, for good: with 403, which no client tries again."""
    middle.script = lambda request, forward: _refusal(403, "AccessDenied") if matches(request) else forward()


def heal(middle):
    """The server is well again."""
    middle.script = lambda request, forward: forward()


class Hold:
    """From now on requests of a kind wait until they are let through by `release`, or dropped by `drop` or `lose`.

    A mount gives up waiting after 20 seconds, and asks again.
    """

    def __init__(self, middle, matches=is_change):
        self.middle, self.matches = middle, matches
        self.held = []
        self.forwards = True
        self.over = threading.Event()
        middle.script = self

    def __call__(self, request, forward):
        if self.matches(request):
            if not self.over.is_set():
                self.held.append(request)
                self.over.wait(HELD)
            if not self.forwards:
                return None
        return forward()

    def release(self):
        heal(self.middle)
        self.over.set()

    def lose(self):
        """The server goes away, and what was held never reaches it; the mount lives on."""
        self.middle.stop()
        self.forwards = False
        self.over.set()
        heal(self.middle)

    def drop(self):
        """What was held never reaches the server, nor what the mount, which was killed, has sent besides."""
        self.forwards = False
        self.over.set()
        self.middle.settle()
        heal(self.middle)
