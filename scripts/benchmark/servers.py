"""The servers that the systems are measured against. Each runs on loopback, and only while it is needed."""

import contextlib
import dataclasses
import os
import re
import urllib.request

import processes
import s3

MIB = 1 << 20
BUCKET = "bench"


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that answers.

    environment: leads a system to it.
    bucket: what prepares and watches it; past the delay and the bandwidth of the responder.
    """

    environment: dict
    bucket: s3.Bucket

    def measured(self):
        """The bucket as the systems reach it."""
        return s3.Bucket(self.environment, self.bucket.name)

    def traffic(self):
        """What the systems asked the responder for, and bytes that it sent, by operation; None for another server."""
        control = self.environment.get("WAYSFS_RESPONDER_CONTROL")
        if control is None:
            return None
        lines = [line.split() for line in self._control("GET", "").splitlines()]
        # `OPERATION REQUESTS received BYTES sent BYTES`; what has fewer words is a setting.
        return Traffic({words[0]: (int(words[1]), int(words[5])) for words in lines if len(words) == 6})

    @contextlib.contextmanager
    def limited(self, bandwidth):
        """Limits the responder to a bandwidth, such as `1Gbit/s`, for a while; None is no limit, for any server."""
        if bandwidth is None:
            yield
            return
        self._control("PUT", f"?bandwidth={bandwidth}")
        try:
            yield
        finally:
            self._control("PUT", "?bandwidth=0")

    def _control(self, method, query):
        url = f"{self.environment['WAYSFS_RESPONDER_CONTROL']}/__responder{query}"
        request = urllib.request.Request(url, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            return response.read().decode()


@dataclasses.dataclass(frozen=True)
class Traffic:
    """operations: name of each to requests, and bytes that were sent in answer to them."""

    operations: dict

    def __sub__(self, earlier):
        """What came since an earlier time."""
        changes = {}
        for name, (requests, sent) in self.operations.items():
            before = earlier.operations.get(name, (0, 0))
            if requests > before[0]:
                changes[name] = (requests - before[0], sent - before[1])
        return Traffic(changes)

    @property
    def requests(self):
        return sum(requests for requests, _ in self.operations.values())

    def __str__(self):
        return ", ".join(f"{name} {requests}" for name, (requests, _) in self.operations.items())

    def sent(self, operation):
        return self.operations.get(operation, (0, 0))[1]


class SeaweedFS:
    """The S3 server of the sandbox. It keeps what it gets in files."""

    name = "seaweedfs"
    title = "SeaweedFS"
    kind = "seaweedfs"

    @contextlib.contextmanager
    def started(self, options, directory, _):
        variables, log = directory / "environment", directory / "sandbox.log"
        arguments = [options.sandbox, "--weed", options.weed, "--directory", str(directory / "sandbox"), "--fresh"]
        arguments += ["--bucket", BUCKET, "--env-file", str(variables)]
        with _running(arguments, variables, log, "the sandbox") as environment:
            yield Running(environment, s3.Bucket(environment, BUCKET))


class Responder:
    """The S3 server in memory that was written for this. `delay` is how long each answer waits."""

    def __init__(self, delay):
        self.delay = delay
        self.name = "responder" if delay == "0ms" else f"responder-{delay}"
        self.title = f"responder, {delay}"
        self.kind = "responder" if delay == "0ms" else "latent"

    @contextlib.contextmanager
    def started(self, options, directory, capacity):
        """capacity: how many bytes are stored at a time."""
        _require_memory(capacity)
        variables, log = directory / "environment", directory / "responder.log"
        # What is written again and again is touched before the clock runs, which takes some seconds for a GiB; the
        # measurement of memory takes more than that, but not to see how fast it is.
        touched = min(capacity, 2 << 30)
        arguments = [options.responder, "--bucket", BUCKET, "--env-file", str(variables)]
        arguments += ["--first-byte-delay", self.delay, "--memory-limit", f"{capacity // MIB}M"]
        arguments += ["--prefault", f"{touched // MIB}M", "--tags", options.tags]
        with _running(arguments, variables, log, "the responder") as environment:
            past = environment | {"WAYSFS_ENDPOINT": environment["WAYSFS_RESPONDER_CONTROL"]}
            yield Running(environment, s3.Bucket(past, BUCKET))


ALL = ("seaweedfs", "responder", "responder-20ms")


def named(name):
    """A server by its name; None when there is none of that name. Any delay in ms will do."""
    if name == SeaweedFS.name:
        return SeaweedFS()
    found = re.fullmatch(r"responder(?:-([1-9]\d*ms))?", name)
    return Responder(found[1] or "0ms") if found else None


@contextlib.contextmanager
def _running(arguments, variables, log, what):
    """Starts a server and yields the environment that it writes to the file `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = processes.start(arguments, inherited, log, variables.parent)
    try:
        processes.wait_until(
            lambda: variables.exists() and variables.stat().st_size, 90, f"{what} did not start",
            process=process, log=log,
        )
        yield s3.parse_environment(variables.read_text())
    finally:
        processes.stop(process)


def _require_memory(capacity):
    with open("/proc/meminfo") as table:
        available = next(int(line.split()[1]) * 1024 for line in table if line.startswith("MemAvailable"))
    # The mounts need some too, and the page cache holds what they keep on disk.
    if available < capacity + (2 << 30):
        raise processes.Failed(
            f"the responder needs {capacity // MIB} MiB and {available // MIB} are available: try --quick, --size, or "
            "--server seaweedfs"
        )
