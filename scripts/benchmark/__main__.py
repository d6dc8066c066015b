"""Compares waysfs with s3fs and `rclone mount --vfs-cache-mode full`, side by side, against S3 servers on loopback.

Every system does the same work with the same bytes in each round, one after the other in changing order, so that
noise of the machine hits all alike. docs/performance.md says what the rows measure.
"""

import argparse
import collections
import contextlib
import dataclasses
import http.client
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import content
import goals
import processes
import report
import rows
import s3
import servers
import speed
import systems
import workspace

MIB, GIB = 1 << 20, 1 << 30
DEFAULT = workspace.Sizes(
    size=GIB, objects=10_000, many=100_000, tree=10_000, reads=1_000, random_reads=300, files=1_000,
    patched=512 * MIB, parallel=512 * MIB,
)
QUICK = workspace.Sizes(
    size=128 * MIB, objects=1_000, many=10_000, tree=2_000, reads=200, random_reads=50, files=200,
    patched=64 * MIB, parallel=64 * MIB,
)
# Bytes that the responder's limit counts for a small object, at most.
SMALL_OBJECT = 4096
# The speed of the responder itself.
SPEED = "responder"


def parse_size(text):
    found = re.fullmatch(r"(\d+)(M|G)(iB)?", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError("a number of MiB or GiB, such as 256M or 1G")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


def parse_options():
    names = [measurement.name for measurement in rows.measurements(DEFAULT)] + [SPEED]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--size", type=parse_size, help="of the large file (1G)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (3)")
    parser.add_argument("--only", metavar="ROW,...", help=f"measure only these of: {', '.join(names)}")
    parser.add_argument("--systems", metavar="NAME,...", default=",".join(systems.ALL), help="waysfs,s3fs,rclone")
    parser.add_argument(
        "--server", metavar="NAME,...", help="seaweedfs, responder or responder-20ms (all, each with rows of its own)"
    )
    parser.add_argument("--quick", action="store_true", help="small files, and two rounds")
    parser.add_argument("--json", metavar="FILE", help="write all samples to a file")
    parser.add_argument(
        "--tags", choices=("md5", "opaque"), default="md5",
        help="whether the responder computes the MD5 of what comes without one",
    )
    parser.add_argument("--requests", action="store_true", help="show what the responder was asked for in each sample")
    parser.add_argument("--directory", help="where to work; needs some GiB (TMPDIR, else /var/tmp)")
    programs = parser.add_argument_group("programs, when not those that were built here")
    for name in ("waysfs", "sandbox", "responder", "weed", "rclone", "s3fs"):
        programs.add_argument(f"--{name}", default=name, metavar="PROGRAM")
    options = parser.parse_args()

    options.is_complete = options.server is None
    options.only = options.only.split(",") if options.only else names
    options.systems = options.systems.split(",")
    options.server = options.server.split(",") if options.server else list(servers.ALL)
    for given, known in ((options.only, names), (options.systems, systems.ALL)):
        for name in given:
            if name not in known:
                parser.error(f"{name} is none of: {', '.join(known)}")
    for name in options.server:
        if not servers.named(name):
            parser.error(f"{name} is none of: {', '.join(servers.ALL)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is at least 1")
    options.sizes = QUICK if options.quick else DEFAULT
    if options.size:
        options.sizes = dataclasses.replace(options.sizes, size=options.size)
    options.directory = options.directory or os.environ.get("TMPDIR") or "/var/tmp"
    return options


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured on one server."""

    server: object
    sizes: workspace.Sizes
    measurements: list
    rounds: int
    has_speed: bool

    @property
    def capacity(self):
        """How many bytes the server holds at a time."""
        names = {measurement.name for measurement in self.measurements}
        needs = {key for measurement in self.measurements for key in measurement.needs}
        prepared = self.sizes.size * ("large" in needs) + self.sizes.patched * ("patched" in needs)
        # What a small object takes is more than its bytes.
        prepared += (self.sizes.many * ("many" in needs) + self.sizes.tree * ("tree" in needs)) * SMALL_OBJECT
        written = [self.sizes.size * ("write" in names), self.sizes.patched * ("patch" in names)]
        written.append(self.sizes.parallel * self.sizes.writers * ("memory" in names))
        return prepared + max(written) + 512 * MIB


def make_plan(options, server):
    sizes = options.sizes
    if server.kind == "latent":
        # s3fs needs ten round trips for a file.
        sizes = dataclasses.replace(sizes, files=sizes.files // 10)
    chosen = [one for one in rows.measurements(sizes) if one.name in options.only and one.is_possible(server)]
    if options.is_complete:
        chosen = [measurement for measurement in chosen if measurement.is_for(server)]
    has_speed = SPEED in options.only and server.kind == "responder"
    return Plan(server, sizes, chosen, options.rounds or (2 if options.quick else 3), has_speed)


def require(options, plans):
    """Fails early when something is missing."""
    needed = [getattr(options, name) for name in options.systems] + ["setpriv", "fusermount3"]
    for server in {type(plan.server) for plan in plans}:
        needed += [options.responder] if server is servers.Responder else [options.sandbox, options.weed]
    for program in needed:
        if not shutil.which(program):
            raise processes.Failed(f"the program {program} is missing")
    # What is deleted takes its space until the server compacts; and a cache holds what is written.
    space = 0
    for plan in plans:
        names = {measurement.name for measurement in plan.measurements}
        at_once = max(plan.sizes.size, plan.sizes.parallel * plan.sizes.writers * ("memory" in names))
        if isinstance(plan.server, servers.SeaweedFS):
            written = plan.sizes.size * ("write" in names) + plan.sizes.patched * ("patch" in names)
            at_once += plan.rounds * len(options.systems) * written + 3 * plan.sizes.size
        if any(measurement.bare for measurement in plan.measurements):
            # A local file, and a disk cache.
            at_once += 2 * plan.sizes.size
        space = max(space, at_once)
    free = shutil.disk_usage(options.directory).free
    if free < space + GIB:
        raise processes.Failed(
            f"{options.directory} has {free // MIB} MiB free and {(space + GIB) // MIB} are needed: "
            "try --size, or --directory with another one"
        )


def measure(options, plan, running, directory):
    """All samples on one server: row name, then system name, to a list."""
    space = workspace.Workspace(running, directory, plan.sizes)
    account = systems.Account(running.environment, running.bucket.name)
    compared = [systems.ALL[name](shutil.which(getattr(options, name)), account) for name in options.systems]
    say("storing what will be read")
    space.prepare({key for measurement in plan.measurements for key in measurement.needs})
    results = collections.defaultdict(lambda: collections.defaultdict(list))
    for number in range(plan.rounds):
        say(f"{plan.server.title}: round {number + 1} of {plan.rounds}")
        for measurement in plan.measurements:
            if number >= (measurement.rounds or plan.rounds):
                continue
            for name, work in order(measurement.workers(compared), number):
                before = running.traffic()
                with running.limited(measurement.bandwidth):
                    samples = work(space, number)
                for row, sample in samples.items():
                    results[row][name].append(sample)
                print(f"    {measurement.name:13} {name:8} {describe(samples)}")
                if options.requests and before is not None:
                    print(f"        {running.traffic() - before}")
    return results


def order(compared, number):
    """Each system comes first, and behind each other, equally often in twice as many rounds as there are systems."""
    if not compared:
        return []
    turn, reverse = number % len(compared), number // len(compared) % 2
    turned = compared[turn:] + compared[:turn]
    return turned[::-1] if reverse else turned


def describe(samples):
    texts = []
    for sample in samples.values():
        numbers = (("{:.2f} s", sample.wall), ("CPU {:.2f} s", sample.cpu), ("{:.2f}", sample.count))
        parts = [form.format(number) for form, number in numbers if number is not None]
        texts.append(", ".join(parts + ([f"{sample.peak / MIB:.0f} MiB"] if sample.peak is not None else [])))
    return "; ".join(texts)


def run(options):
    plans = [make_plan(options, servers.named(name)) for name in options.server]
    plans = [plan for plan in plans if plan.measurements or plan.has_speed]
    require(options, plans)
    tables, results, speeds = {}, {}, {}
    begin = time.monotonic()
    for plan in plans:
        name = plan.server.name
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="waysfs-bench.", dir=options.directory))
            stack.callback(remove, directory)
            say(f"starting {plan.server.title}")
            running = stack.enter_context(plan.server.started(options, directory, plan.capacity))
            if plan.has_speed:
                speeds[name] = speed.measure(running, 2 * GIB)
                print("    " + ", ".join(f"{way} {moved / 1e9:.2f} GB/s" for way, moved in speeds[name].items()))
            if plan.measurements:
                results[name] = measure(options, plan, running, directory)
                tables[name] = {row: title for one in plan.measurements for row, title in one.rows.items()}
    say(f"done in {(time.monotonic() - begin) / 60:.1f} minutes")
    show(options, plans, tables, results, speeds)


def show(options, plans, tables, results, speeds):
    for plan in plans:
        if plan.measurements:
            titles, found = tables[plan.server.name], results[plan.server.name]
            print()
            print("\n".join(report.table(plan.server.title, titles, found, options.systems, rows.UNCOMPARED)))
    outcomes = goals.outcomes(results, {plan.server.name: plan.server.kind for plan in plans}, speeds)
    if outcomes:
        print()
        print("\n".join(report.goal_table(outcomes, {plan.server.name: plan.server.title for plan in plans})))
    print(FOOTNOTE.format(rounds=plans[0].rounds))
    if options.json:
        given = {plan.server.name: {"rounds": plan.rounds} | vars(plan.sizes) for plan in plans}
        found = {name: (tables[name], results[name]) for name in tables}
        report.write_json(options.json, given, found, outcomes, speeds, rows.UNCOMPARED)


FOOTNOTE = """
Rounds: {rounds}; memory of many readers or writers: 1.
Wall and CPU seconds (of the daemon) are medians, memory is the most of all rounds. The last columns compare the
medians, and the best round of each: below 1, waysfs is better. To stored: until the bucket has the whole, since
rclone, and waysfs in write-back mode, answer close before the upload. Bare: the same without a filesystem, such as a
download over as many connections, or a local file; with CPU seconds of this program."""


def remove(directory):
    """Removes what the run made, but nothing through a mount that could not be taken away."""
    left = [entry for entry in directory.iterdir() if processes.is_mounted(entry)]
    for mount in left:
        processes.unmount(mount)
    if not any(processes.is_mounted(mount) for mount in left):
        shutil.rmtree(directory, ignore_errors=True)


def say(text):
    print(f"==> {text}")


def interrupt(number, _):
    # Once is enough: what follows must not break the cleaning up.
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, interrupt)
    options = parse_options()
    try:
        run(options)
    except (processes.Failed, content.Wrong, s3.S3Error, OSError, http.client.HTTPException) as error:
        sys.exit(f"bench: {error}")


main()
