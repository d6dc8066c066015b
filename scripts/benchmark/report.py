"""The tables, and the same in JSON."""

import dataclasses
import json
import os
import platform
import statistics

import bare

MIB = 1 << 20


def medians(samples):
    """Median wall and CPU seconds, the highest memory and the median count, of the samples of one system in a row."""

    def over(name, function):
        values = [value for value in (getattr(sample, name) for sample in samples) if value is not None]
        return function(values) if values else None

    middle = statistics.median
    return over("wall", middle), over("cpu", middle), over("peak", max), over("count", middle)


def ratio(row, choose):
    """What waysfs needs over what the better peer needs: time, or what the row has where no time is taken.

    choose: makes one number of the rounds' samples: their median, or, since the load of other programs only ever adds,
    their minimum.
    """
    found = {system: samples for system, samples in row.items() if samples and system != bare.NAME}
    numbers = {system: choose(map(_compared, samples)) for system, samples in found.items()}
    ours = numbers.pop("waysfs", None)
    return None if ours is None or not numbers else ours / max(min(numbers.values()), 1e-3)


def _compared(sample):
    return next(value for value in (sample.wall, sample.cpu, sample.peak, sample.count) if value is not None)


def table(server, titles, results, systems, uncompared):
    """The lines of the table of one server.

    titles: of the rows, by their names.
    results: row name, then system name, to the list of samples.
    systems: a column each; and one for what was done without a filesystem.
    uncompared: rows in which the systems do not do the same.
    """
    width = max(len(title) for title in [server, *titles.values()]) + 2
    if any(bare.NAME in row for row in results.values()):
        systems = [*systems, bare.NAME]
    lines = [server.ljust(width) + "".join(f"{system:^24}" for system in systems) + "waysfs / better peer".rjust(22)]
    lines.append(" " * width + f"{'wall s':>8}{'CPU s':>8}{'MiB':>6}  " * len(systems) + f"{'median':>12}{'best':>10}")
    for name, title in titles.items():
        cells = [_cells(medians(results[name].get(system, []))) for system in systems]
        ratios = [None if name in uncompared else ratio(results[name], choose) for choose in (statistics.median, min)]
        lines.append(title.ljust(width) + "".join(cells) + f"{_ratio(ratios[0]):>12}{_ratio(ratios[1]):>10}")
    return lines


def _ratio(number):
    return "-" if number is None else f"{number:.2f}"


def _cells(columns):
    wall, cpu, peak, count = columns
    # A count has no column of its own: the title of its row says what it is.
    first = wall if count is None else count
    texts = (
        "-" if first is None else f"{first:.2f}",
        "-" if cpu is None else f"{cpu:.2f}",
        "-" if peak is None else f"{peak / MIB:.0f}",
    )
    return "{:>8}{:>8}{:>6}  ".format(*texts)


def goal_table(outcomes, servers):
    """The lines of the table of goals: what was reached on each server.

    outcomes: goal, then server name, to what was reached.
    servers: names to titles.
    """
    width = max(len(text) for text in [*outcomes, "goal"]) + 2
    columns = {name: title for name, title in servers.items() if any(name in row for row in outcomes.values())}
    lines = ["goal".ljust(width) + "".join(f"{title:>18}" for title in columns.values())]
    for text, row in outcomes.items():
        lines.append(text.ljust(width) + "".join(f"{str(row.get(name, '-')):>18}" for name in columns))
    return lines


def machine():
    """What the numbers depend on."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    return {"cores": os.cpu_count(), "memory": memory, "kernel": platform.release(), "machine": platform.machine()}


def write_json(path, options, servers, outcomes, speeds, uncompared):
    """servers: name to the titles and results of the rows."""
    document = {
        "machine": machine(),
        "options": options,
        "speed of the responder": speeds,
        "goals": {
            text: {server: dataclasses.asdict(outcome) for server, outcome in row.items()}
            for text, row in outcomes.items()
        },
        "servers": {
            name: [_row(row, title, results[row], uncompared) for row, title in titles.items()]
            for name, (titles, results) in servers.items()
        },
    }
    with open(path, "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")


def _row(name, title, samples, uncompared):
    return {
        "name": name,
        "title": title.strip(),
        "compared": name not in uncompared,
        "ratio of medians": ratio(samples, statistics.median),
        "ratio of best": ratio(samples, min),
        "samples": {system: [dataclasses.asdict(sample) for sample in found] for system, found in samples.items()},
    }
