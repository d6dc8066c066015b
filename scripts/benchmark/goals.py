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


@dataclasses.dataclass(frozen=True)
class Faster:
    """waysfs is so many times faster than the best of the peers, in medians of wall time (or of CPU time)."""

    row: str
    text: str
    peers: tuple
    factor: float
    field: str = "wall"

    def outcome(self, samples):
        """samples: system name to the samples of the row. None when somebody was not measured."""
        medians = {
            system: statistics.median(getattr(sample, self.field) for sample in samples[system])
            for system in (*self.peers, "waysfs") if samples.get(system)
        }
        if len(medians) <= len(self.peers):
            return None
        # CPU time comes in ticks of 10 ms and may be none.
        ratio = min(medians[peer] for peer in self.peers) / max(medians["waysfs"], 1e-3)
        return Outcome(f"{ratio:.2f}", ratio >= self.factor)


@dataclasses.dataclass(frozen=True)
class Memory:
    """waysfs never has more than its limit and something for itself."""

    row: str
    text: str
    limit: int

    def outcome(self, samples):
        if not samples.get("waysfs"):
            return None
        peak = max(sample.peak for sample in samples["waysfs"])
        return Outcome(f"{peak / report.MIB:.0f} MiB", peak <= self.limit)


ALL = (
    Faster("stored", "write: 1.5 times as fast as s3fs, which is durable at close", ("s3fs",), 1.5),
    Faster("cpu", "write: CPU seconds per GiB below both", ("s3fs", "rclone"), 1, "cpu"),
    Faster("patch", "4 KiB patch: 5 times as fast as s3fs", ("s3fs",), 5),
    Faster("small-1", "small files, 1 by 1: not slower than s3fs", ("s3fs",), 1),
    Faster("small-16", "small files, 16 at once: twice as fast as s3fs", ("s3fs",), 2),
    Faster("writeback-1-close", "write-back, 1 by 1, to close: twice as fast as rclone", ("rclone",), 2),
    Faster("writeback-16-close", "write-back, 16 at once, to close: twice as fast as rclone", ("rclone",), 2),
    Memory("memory", "memory of 8 writers: at most the limit of 256 MiB and 64 MiB", MEMORY_LIMIT + SLACK),
)


def outcomes(results, speeds):
    """Goal text to the outcome on each server: server name, then row name, then system name, to samples.

    speeds: server name to the bytes a second that the responder itself moves in each direction.
    """
    found = {}
    for server, rows in results.items():
        for goal in ALL:
            outcome = goal.outcome(rows.get(goal.row, {}))
            if outcome:
                found.setdefault(goal.text, {})[server] = outcome
    for server, ways in speeds.items():
        slower = min(ways.values())
        text = "the responder itself: 1 GB/s both ways"
        found.setdefault(text, {})[server] = Outcome(f"{slower / 1e9:.1f} GB/s", slower >= SPEED)
    return found
