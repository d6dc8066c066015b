"""What the rows are to show, and whether they do."""

import dataclasses
import statistics

import report

MEMORY_LIMIT = 256 << 20
SLACK = 64 << 20
# The responder is to be no limit.
SPEED = 1e9


@dataclasses.dataclass(frozen=True)
class Outcome:
    value: str
    is_met: bool

    def __str__(self):
        return f"{self.value} {'met' if self.is_met else 'MISSED'}"


def median(row, system, field):
    """The median of a field over the samples of a system in a row; None when there are none."""
    values = [getattr(sample, field) for sample in row.get(system, [])]
    return statistics.median(values) if values else None


@dataclasses.dataclass(frozen=True)
class Faster:
    """waysfs is so many times faster than the best of the peers, in medians of wall time (or of CPU time).

    servers: the kinds of those for which this is the goal; all when there are none.
    """

    row: str
    text: str
    peers: tuple
    factor: float
    field: str = "wall"
    servers: tuple = ()

    def outcome(self, rows):
        """rows: row name, then system name, to samples. None when somebody was not measured."""
        row = rows.get(self.row, {})
        peers = [median(row, peer, self.field) for peer in self.peers]
        ours = median(row, "waysfs", self.field)
        if ours is None or None in peers:
            return None
        # CPU time comes in ticks of 10 ms and may be none.
        ratio = min(peers) / max(ours, 1e-3)
        return Outcome(f"{ratio:.2f}", ratio >= self.factor)


@dataclasses.dataclass(frozen=True)
class Sooner:
    """waysfs does the work of one row so many times faster than that of another."""

    row: str
    slower: str
    text: str
    factor: float
    servers: tuple = ()

    def outcome(self, rows):
        times = [median(rows.get(name, {}), "waysfs", "wall") for name in (self.slower, self.row)]
        if None in times:
            return None
        ratio = times[0] / max(times[1], 1e-3)
        return Outcome(f"{ratio:.2f}", ratio >= self.factor)


@dataclasses.dataclass(frozen=True)
class Few:
    """What waysfs is counted to do is at most so much, in two decimals."""

    row: str
    text: str
    most: float
    servers: tuple = ()

    def outcome(self, rows):
        count = median(rows.get(self.row, {}), "waysfs", "count")
        return None if count is None else Outcome(f"{count:.2f}", round(count, 2) <= self.most)


@dataclasses.dataclass(frozen=True)
class Memory:
    """waysfs never has more than its limit and something for itself."""

    row: str
    text: str
    limit: int
    servers: tuple = ()

    def outcome(self, rows):
        samples = rows.get(self.row, {}).get("waysfs")
        if not samples:
            return None
        peak = max(sample.peak for sample in samples)
        return Outcome(f"{peak / report.MIB:.0f} MiB", peak <= self.limit)


BARE, BOTH = ("bare",), ("s3fs", "rclone")
AT_ONCE, LATE = ("seaweedfs", "responder"), ("latent",)
ALL = (
    Faster("read", "read: at least 0.9 of a bare download", BARE, 0.9, servers=AT_ONCE),
    Faster("read", "read: 1.3 times as fast as the better peer", BOTH, 1.3, servers=AT_ONCE),
    Faster("read", "read, late answers: twice as fast as the better peer", BOTH, 2, servers=LATE),
    Faster("read-net", "read over a line: at least 0.9 of a bare download", BARE, 0.9, servers=LATE),
    Faster("window", "read, window open: at least 0.85 of the bandwidth", BARE, 0.85, servers=LATE),
    Faster("read-4", "read 4 files at once: at least 0.9 of a bare download", BARE, 0.9),
    Faster("read-cpu", "read: less than half the CPU seconds of rclone", ("rclone",), 2, "cpu"),
    Faster("again", "read again: at least 0.9 of a local file in the page cache", BARE, 0.9),
    Faster("warm", "read after a remount: at least 0.8 of a local file", BARE, 0.8),
    Faster("warm-again", "and again: at least 0.9 of a local file in the page cache", BARE, 0.9),
    Faster("passed", "the same, mounted read-only: at least 0.8 of a local file", BARE, 0.8),
    Faster("passed-again", "and again, read-only: at least 0.9 of a local file in the page cache", BARE, 0.9),
    Faster("random-net", "random reads: 1.5 times as fast as the better peer", BOTH, 1.5, servers=LATE),
    Few("random-net-fetched", "random reads: at most 4 times the bytes asked for", 4, LATE),
    Sooner("random-16", "random-net", "random reads by 16 threads: 8 times as fast as by one", 8, LATE),
    Faster("small-read-16", "read small files, 16 at once: 1.5 times the better peer", BOTH, 1.5),
    Few("small-read-16-requests", "read small files, 16 at once: at most 1 request for each", 1),
    Faster("list-many", "ls -lU: at most 1.3 times a bare listing", BARE, 1 / 1.3, servers=LATE),
    Faster("find", "find: at most 1.3 times a bare listing", BARE, 1 / 1.3, servers=LATE),
    Few("stat-requests", "stat of what is known: no request", 0),
    Memory("streams", "memory of 32 readers: at most the limit of 128 MiB and 64 MiB", MEMORY_LIMIT // 2 + SLACK),
    Faster("stored", "write: 1.5 times as fast as s3fs, which is durable at close", ("s3fs",), 1.5),
    Faster("cpu", "write: CPU seconds per GiB below both", BOTH, 1, "cpu"),
    Faster("patch", "4 KiB patch: 5 times as fast as s3fs", ("s3fs",), 5),
    Faster("small-1", "small files, 1 by 1: not slower than s3fs", ("s3fs",), 1),
    Faster("small-16", "small files, 16 at once: twice as fast as s3fs", ("s3fs",), 2),
    Faster("writeback-1-close", "write-back, 1 by 1, to close: twice as fast as rclone", ("rclone",), 2),
    Faster("writeback-16-close", "write-back, 16 at once, to close: twice as fast as rclone", ("rclone",), 2),
    Memory("memory", "memory of 8 writers: at most the limit of 256 MiB and 64 MiB", MEMORY_LIMIT + SLACK),
)


def outcomes(results, kinds, speeds):
    """Goal text to the outcome on each server: server name, then row name, then system name, to samples.

    kinds: of the servers, by their names.
    speeds: server name to the bytes a second that the responder itself moves in each direction.
    """
    found = {}
    for goal in ALL:
        for server, rows in results.items():
            outcome = goal.outcome(rows) if not goal.servers or kinds[server] in goal.servers else None
            if outcome:
                found.setdefault(goal.text, {})[server] = outcome
    for server, ways in speeds.items():
        slower = min(ways.values())
        text = "the responder itself: 1 GB/s both ways"
        found.setdefault(text, {})[server] = Outcome(f"{slower / 1e9:.1f} GB/s", slower >= SPEED)
    return found
