"""The table of what is measured: which function fills which rows, on which servers and for which systems."""

import dataclasses

import reads
import writes

# What is compared is when the bucket has it: rclone answers close when its cache has it, waysfs in write-back mode when
# its journal has it, and the others when the bucket does.
UNCOMPARED = {"close", "patch-close", "small-1-close", "small-16-close"}

EVERYWHERE = ("seaweedfs", "responder")
WRITE_BACK = ("--write-mode", "writeback")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A function and the rows that it fills.

    rows: the name of each row, to its title.
    needs: what has to be in the bucket.
    servers: kinds of servers on which it is measured, unless servers are named.
    systems: that take part.
    options: of waysfs, in addition.
    rounds: at most.
    latent: whether it is measured where answers are delayed, unless servers are named.
    """

    name: str
    measure: object
    rows: dict
    needs: tuple = ()
    servers: tuple = ("seaweedfs",)
    systems: tuple = ("waysfs", "s3fs", "rclone")
    options: tuple = ()
    rounds: int = None
    latent: bool = True

    def is_for(self, server):
        """Whether it is measured there when nothing else is asked for."""
        return server.name.partition("-")[0] in self.servers and (self.latent or not server.is_latent)


def measurements(sizes):
    return _reads(sizes) + _writes(sizes)


def _reads(sizes):
    large = describe(sizes.size)
    return [
        Measurement("idle", reads.idle, {"idle": "idle memory"}),
        Measurement(
            "read", reads.sequential_read, {"read": f"read {large}, cold", "resident": "  memory a second later"},
            needs=("large",),
        ),
        Measurement("list", reads.list_directory, {"list": f"ls -lU of {sizes.objects:,}, cold"}, needs=("many",)),
        Measurement(
            "small-read", reads.read_small, {"small-read": f"read {sizes.reads} x 4 KiB, cold"}, needs=("small",)
        ),
        Measurement(
            "random", reads.random_reads, {"random": f"{sizes.random_reads} random 64 KiB, cold"}, needs=("large",)
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
            servers=("responder",), rounds=1, latent=False,
        ),
    ]


def describe(size):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
