"""The table, and the same in JSON."""

import dataclasses
import json
import os
import platform
import statistics

MIB = 1 << 20


def medians(samples):
    """Median wall and CPU seconds and the highest memory, of the samples of one system in one row."""

    def over(name, function):
        values = [value for value in (getattr(sample, name) for sample in samples) if value is not None]
        return function(values) if values else None

    return over("wall", statistics.median), over("cpu", statistics.median), over("peak", max)


def ratio(row, choose):
    """What waysfs needs over what the better of the others needs: time, or memory where no time is taken.

    choose: makes one number of the rounds' samples: their median, or, since the load of other programs only ever adds,
    their minimum.
    """
    numbers = {system: choose(map(_compared, samples)) for system, samples in row.items() if samples}
    ours = numbers.pop("waysfs", None)
    return None if ours is None or not numbers else ours / min(numbers.values())


def _compared(sample):
    return sample.peak if sample.wall is None else sample.wall


def table(titles, results, systems, uncompared):
    """The lines of the table.

    results: row name, then system name, to the list of samples.
    uncompared: rows in which the systems do not do the same.
    """
    width = max(len(title) for title in titles.values()) + 2
    lines = [" " * width + "".join(f"{system:^24}" for system in systems) + "waysfs / better peer".rjust(22)]
    lines.append(" " * width + f"{'wall s':>8}{'CPU s':>8}{'MiB':>6}  " * len(systems) + f"{'median':>12}{'best':>10}")
    for name, title in titles.items():
        cells = [_cells(medians(results[name].get(system, []))) for system in systems]
        ratios = [None if name in uncompared else ratio(results[name], choose) for choose in (statistics.median, min)]
        lines.append(title.ljust(width) + "".join(cells) + f"{_ratio(ratios[0]):>12}{_ratio(ratios[1]):>10}")
    return lines


def _ratio(number):
    return "-" if number is None else f"{number:.2f}"


def _cells(columns):
    wall, cpu, peak = columns
    texts = (
        "-" if wall is None else f"{wall:.2f}",
        "-" if cpu is None else f"{cpu:.2f}",
        "-" if peak is None else f"{peak / MIB:.0f}",
    )
    return "{:>8}{:>8}{:>6}  ".format(*texts)


def machine():
    """What the numbers depend on."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    return {"cores": os.cpu_count(), "memory": memory, "kernel": platform.release(), "machine": platform.machine()}


def write_json(path, options, titles, results, uncompared):
    document = {
        "machine": machine(),
        "options": options,
        "rows": [
            {
                "name": name,
                "title": title.strip(),
                "compared": name not in uncompared,
                "ratio of medians": ratio(results[name], statistics.median),
                "ratio of best": ratio(results[name], min),
                "samples": {
                    system: [dataclasses.asdict(sample) for sample in samples]
                    for system, samples in results[name].items()
                },
            }
            for name, title in titles.items()
        ],
    }
    with open(path, "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
