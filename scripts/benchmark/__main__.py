"""Compares waysfs with s3fs and `rclone mount --vfs-cache-mode full`, side by side, against a local S3 server.

Every system does the same work with the same bytes in each round, one after the other in changing order, so that
noise of the machine hits all alike. docs/performance.md says what the rows measure.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile

import content
import processes
import report
import rows
import s3
import systems

BUCKET = "bench"
DEFAULT = rows.Sizes(size=1 << 30, objects=10_000, files=500, reads=200)
QUICK = rows.Sizes(size=128 << 20, objects=1_000, files=100, reads=50)


def parse_size(text):
    found = re.fullmatch(r"(\d+)(M|G)(iB)?", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError("a number of MiB or GiB, such as 256M or 1G")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


def parse_options():
    names = [measurement.name for measurement in rows.measurements(DEFAULT)]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--size", type=parse_size, help="of the large file (1G)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (3)")
    parser.add_argument("--only", metavar="ROW,...", help=f"measure only these of: {', '.join(names)}")
    parser.add_argument("--systems", metavar="NAME,...", default=",".join(systems.ALL), help="waysfs,s3fs,rclone")
    parser.add_argument("--quick", action="store_true", help="128 MiB, 1,000 objects, 100 files, 2 rounds")
    parser.add_argument("--json", metavar="FILE", help="write all samples to a file")
    parser.add_argument("--directory", help="where to work; needs some GiB (TMPDIR, else /var/tmp)")
    programs = parser.add_argument_group("programs, when not those that were built here")
    for name in ("waysfs", "sandbox", "weed", "rclone", "s3fs"):
        programs.add_argument(f"--{name}", default=name, metavar="PROGRAM")
    options = parser.parse_args()

    options.only = options.only.split(",") if options.only else names
    options.systems = options.systems.split(",")
    for given, known in ((options.only, names), (options.systems, systems.ALL)):
        for name in given:
            if name not in known:
                parser.error(f"{name} is none of: {', '.join(known)}")
    options.rounds = options.rounds or (2 if options.quick else 3)
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    base = QUICK if options.quick else DEFAULT
    options.sizes = rows.Sizes(options.size or base.size, base.objects, base.files, base.reads)
    options.directory = options.directory or os.environ.get("TMPDIR") or "/var/tmp"
    return options


def require(options):
    """Fails early when something is missing."""
    needed = [getattr(options, name) for name in options.systems] + [options.sandbox, options.weed]
    for program in needed + ["setpriv", "fusermount3"]:
        if not shutil.which(program):
            raise processes.Failed(f"the program {program} is missing")
    # What is deleted takes its space until the server compacts.
    written = options.rounds * len(options.systems) if "write" in options.only else 0
    space = (written + 4) * options.sizes.size
    free = shutil.disk_usage(options.directory).free
    if free < space:
        raise processes.Failed(
            f"{options.directory} has {free >> 20} MiB free and {space >> 20} are needed: "
            "try --size, or --directory with another one"
        )


@contextlib.contextmanager
def sandbox(options, directory):
    """The server; gives the environment that leads to it."""
    variables, log = directory / "environment", directory / "sandbox.log"
    arguments = [options.sandbox, "--weed", options.weed, "--directory", str(directory / "sandbox"), "--fresh"]
    arguments += ["--bucket", BUCKET, "--env-file", str(variables)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = processes.start(arguments, inherited, log, directory)
    try:
        processes.wait_until(
            lambda: variables.exists() and variables.stat().st_size, 90, "the sandbox did not start",
            process=process, log=log,
        )
        yield s3.parse_environment(variables.read_text())
    finally:
        processes.stop(process)


def measure(options, space, account):
    """All samples: row name, then system name, to a list."""
    chosen = [measurement for measurement in rows.measurements(options.sizes) if measurement.name in options.only]
    compared = [systems.ALL[name](shutil.which(getattr(options, name)), account) for name in options.systems]
    say("storing what will be read")
    space.prepare({key for measurement in chosen for key in measurement.needs})
    results = collections.defaultdict(lambda: collections.defaultdict(list))
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for measurement in chosen:
            for system in order(compared, number):
                samples = measurement.measure(space, system, number)
                for row, sample in samples.items():
                    results[row][system.name].append(sample)
                print(f"    {measurement.name:12} {system.name:8} {describe(samples)}")
    titles = {row: title for measurement in chosen for row, title in measurement.rows.items()}
    return titles, results


def order(compared, number):
    """Each system comes first, and behind each other, equally often in twice as many rounds as there are systems."""
    turn, reverse = number % len(compared), number // len(compared) % 2
    turned = compared[turn:] + compared[:turn]
    return turned[::-1] if reverse else turned


def describe(samples):
    texts = []
    for sample in samples.values():
        texts.append("" if sample.wall is None else f"{sample.wall:.2f} s, CPU {sample.cpu:.2f} s, ")
        texts[-1] += f"{sample.peak / report.MIB:.0f} MiB"
    return "; ".join(texts)


def run(options):
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="waysfs-bench.", dir=options.directory))
        stack.callback(remove, directory)
        say("starting the server")
        account = systems.Account(stack.enter_context(sandbox(options, directory)), BUCKET)
        space = rows.Workspace(s3.Bucket(account.environment, BUCKET), directory, options.sizes)
        titles, results = measure(options, space, account)
    print()
    print("\n".join(report.table(titles, results, options.systems, rows.UNCOMPARED)))
    print(FOOTNOTE.format(rounds=options.rounds))
    if options.json:
        given = {"rounds": options.rounds} | vars(options.sizes)
        report.write_json(options.json, given, titles, results, rows.UNCOMPARED)


FOOTNOTE = """
Rounds: {rounds}. Wall and CPU seconds (of the daemon) are medians, memory is the most of all rounds. The last columns
compare the medians, and the best round of each: below 1, waysfs is better.
(*) until the whole object is in the bucket: rclone answers close before its upload."""


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
        require(options)
        run(options)
    except (processes.Failed, content.Wrong, s3.S3Error, OSError) as error:
        sys.exit(f"bench: {error}")


main()
