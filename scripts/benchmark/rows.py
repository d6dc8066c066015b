"""The table of what is measured: which function fills which rows, on which servers and for which systems."""

import dataclasses
import functools

import bare
import listings
import reads
import scattered
import streams
import writes

# What is compared is when the bucket has it: rclone answers close when its cache has it, waysfs in write-back mode when
# its journal has it, and the others when the bucket does.
UNCOMPARED = {"close", "patch-close", "small-1-close", "small-16-close"}

# Kinds of servers; a responder that lets its answers wait is a kind of its own.
EVERYWHERE = ("seaweedfs", "responder", "latent")
WRITE_BACK = ("--write-mode", "writeback")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A function and the rows that it fills.

    rows: the name of each row, to its title.
    needs: what has to be in the bucket, or on the disk.
    servers: kinds of servers on which it is measured, unless servers are named.
    systems: that take part.
    bare: the function for what the same costs without a filesystem.
    options: of waysfs, in addition.
    rounds: at most.
    bandwidth: of the responder, for all connections together; None for no limit.
    """

    name: str
    measure: object
    rows: dict
    needs: tuple = ()
    servers: tuple = ("seaweedfs",)
    systems: tuple = ("waysfs", "s3fs", "rclone")
    bare: object = None
    options: tuple = ()
    rounds: int = None
    bandwidth: str = None

    def workers(self, compared):
        """Who takes part, by name, and what they do with a workspace in a round."""
        found = []
        for system in compared:
            if system.name == "waysfs":
                system = system.having(self.options)
            if system.name in self.systems:
                found.append((system.name, functools.partial(self.measure, system)))
        return found + ([(bare.NAME, self.bare)] if self.bare else [])

    def is_possible(self, server):
        """Whether the server does what it takes."""
        return self.bandwidth is None or server.kind != "seaweedfs"

    def is_for(self, server):
        """Whether it is measured there when nothing else is asked for."""
        return server.kind in self.servers


def measurements(sizes):
    return _sequential(sizes) + _scattered(sizes) + _listings(sizes) + _writes(sizes)


def _sequential(sizes):
    large, quarter = describe(sizes.size), describe(sizes.size // 4)
    return [
        Measurement("idle", reads.idle, {"idle": "idle memory"}),
        Measurement(
            "read", reads.sequential,
            {
                "read": f"read {large}, cold", "read-cpu": "  CPU seconds per GiB",
                "resident": "  memory a second later", "again": "  again",
            },
            needs=("large", "local"), servers=EVERYWHERE, bare=bare.large,
        ),
        Measurement(
            "read-4", reads.four, {"read-4": f"read 4 x {quarter} at once, cold"},
            needs=("large", "four"), servers=("seaweedfs", "responder"), bare=bare.four,
        ),
        Measurement(
            "read-net", reads.over_line,
            {"read-net": f"read {large}, cold, 2 Gbit/s", "window": "  of that, the middle half"},
            needs=("large",), servers=("latent",), systems=("waysfs",), bare=bare.line(2e9 / 8), bandwidth="2Gbit/s",
        ),
        Measurement(
            "warm", reads.warm,
            {
                "fill": f"read {large}, cold, keeping it on disk", "warm": "  after a remount, from there",
                "warm-again": "  again", "passed": "  after another, mounted read-only", "passed-again": "  again",
            },
            needs=("large", "local"), servers=("responder",), systems=("waysfs",), bare=bare.cold_local,
            options=("--cache-limit", "16GiB"),
        ),
        # Each file is a range of the large one, which a responder holds once.
        Measurement(
            "streams", streams.streams,
            {
                "streams": f"read {sizes.streams} x {quarter} at once, 128 MiB",
                "streams-spread": "  slowest / fastest reader",
            },
            needs=("large", "streams"), servers=("responder",), systems=("waysfs",),
            options=("--memory-limit", "128MiB"), rounds=1,
        ),
    ]


def _scattered(sizes):
    places, files = f"{sizes.random_reads} random 64 KiB", f"{sizes.reads:,} x 4 KiB"
    # With as much bandwidth as loopback has, fetching far too much costs little.
    line = {"needs": ("large",), "servers": ("latent",), "bandwidth": "1Gbit/s"}
    return [
        Measurement("random", scattered.random_reads("random"), {"random": f"{places}, cold"}, needs=("large",)),
        Measurement(
            "random-net", scattered.random_reads("random-net"),
            {"random-net": f"{places}, cold, 1 Gbit/s", "random-net-fetched": "  bytes fetched / asked for"}, **line,
        ),
        Measurement(
            "random-16", scattered.random_reads("random-16", 16),
            {"random-16": "  by 16 threads", "random-16-fetched": "  bytes fetched / asked for"},
            systems=("waysfs",), **line,
        ),
        Measurement(
            "small-read", scattered.small_files("small-read"), {"small-read": f"read {files}, cold"}, needs=("small",)
        ),
        Measurement(
            "small-read-16", scattered.small_files("small-read-16", 16),
            {"small-read-16": f"read {files}, 16 at once, cold", "small-read-16-requests": "  requests for each"},
            needs=("small",), servers=EVERYWHERE,
        ),
    ]


def _listings(sizes):
    # Without a delay, the pages are there before anybody could have asked the kernel for as many names.
    line = {"servers": ("latent",), "systems": ("waysfs",)}
    return [
        Measurement(
            "list", listings.directory("list", "list", sizes.objects),
            {"list": f"ls -lU of {sizes.objects:,}, cold"}, needs=("list",),
        ),
        Measurement(
            "list-many", listings.directory("list-many", "many", sizes.many),
            {"list-many": f"ls -lU of {sizes.many:,}, cold"},
            needs=("many",), bare=bare.listing("list-many", "many"), **line,
        ),
        Measurement(
            "find", listings.tree,
            {
                "find": f"find {sizes.tree:,} in 550 directories", "stat": "  stat of 1,000 of them",
                "stat-requests": "  requests for that",
            },
            needs=("tree",), bare=bare.listing("find", "tree"), **line,
        ),
    ]


def _writes(sizes):
    files, patched = f"{sizes.files:,} x 4 KiB", describe(sizes.patched)

    def small(name, writers, title, **options):
        rows = {f"{name}-close": f"{title}: to close", name: "  to stored"}
        return Measurement(name, writes.small_files(name, writers), rows, servers=EVERYWHERE, **options)

    return [
        Measurement(
            "write", writes.sequential_write,
            {
                "close": f"write {describe(sizes.size)}: to close", "stored": "  to stored",
                "cpu": "  CPU seconds per GiB",
            },
            servers=EVERYWHERE,
        ),
        Measurement(
            "patch", writes.patch,
            {"patch-close": f"4 KiB in {patched}: to close", "patch": "  to stored"},
            needs=("patched",), servers=EVERYWHERE,
        ),
        small("small-1", 1, f"write {files}, 1 by 1"),
        small("small-16", 16, f"write {files}, 16 at once"),
        small("writeback-1", 1, "write-back, 1 by 1", systems=("waysfs", "rclone"), options=WRITE_BACK),
        small("writeback-16", 16, "write-back, 16 at once", systems=("waysfs", "rclone"), options=WRITE_BACK),
        # SeaweedFS would need many GiB of disk for this, and nothing of it depends on the server.
        Measurement(
            "memory", writes.parallel_writes,
            {"memory": f"write {sizes.writers} x {describe(sizes.parallel)} at once"},
            servers=("responder",), rounds=1,
        ),
    ]


def describe(size):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
