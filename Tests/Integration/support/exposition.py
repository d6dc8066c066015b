"""A strict parser of Prometheus' text exposition format 0.0.4, written from its description, for tests.

https://prometheus.io/docs/instrumenting/exposition_formats/ : what it calls an error is an AssertionError here, and so
is what its conventions call bad, such as a counter whose name does not end in _total.
"""

import math
import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
SUFFIXES = {"histogram": ["_bucket", "_sum", "_count"], "summary": ["", "_sum", "_count"]}
# What Go's ParseFloat takes of what is not a special value.
NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"


@dataclass
class Family:
    name: str
    help: str | None = None
    type: str | None = None
    # (name, labels as a tuple of pairs) -> value
    samples: dict = field(default_factory=dict)


def parse(text):
    """The families by name; fails for anything that is not in the format."""
    assert text.endswith("\n"), "the last line has no end"
    families, current = {}, None
    for line in text.split("\n")[:-1]:
        if line == "":
            continue
        if line.startswith("#"):
            current = _comment(line, families, current)
            continue
        assert current is not None, f"a sample before any TYPE: {line}"
        name, labels, value = _sample(line)
        suffixes = SUFFIXES.get(current.type, [""])
        assert name in [current.name + suffix for suffix in suffixes], f"{name} in the group of {current.name}"
        key = (name, labels)
        assert key not in current.samples, f"twice: {line}"
        current.samples[key] = value
    for family in families.values():
        _check(family)
    return families


def _comment(line, families, current):
    match = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.*)", line)
    assert match, f"neither HELP nor TYPE: {line}"
    kind, name, rest = match.groups()
    if current is None or current.name != name:
        assert name not in families, f"{name} has two groups"
        current = families[name] = Family(name)
    assert not current.samples, f"{kind} of {name} comes behind its samples"
    if kind == "HELP":
        assert current.help is None
        assert re.fullmatch(r"([^\\]|\\\\|\\n)*", rest), f"a wrong escape: {line}"
        current.help = rest
    else:
        assert current.type is None and rest in ("counter", "gauge", "histogram", "summary", "untyped"), line
        current.type = rest
    return current


def _sample(line):
    match = re.match(rf"({NAME})(\{{)?", line)
    assert match, f"no name: {line}"
    name, position, labels = match[1], match.end(), []
    if match[2]:
        while line[position] != "}":
            pair = re.compile(rf'({LABEL})="((?:[^"\\\n]|\\["\\n])*)"(,|(?=\}}))').match(line, position)
            assert pair, f"a wrong label at {position}: {line}"
            value = re.sub(r'\\(["\\n])', lambda escape: {"n": "\n"}.get(escape[1], escape[1]), pair[2])
            labels.append((pair[1], value))
            position = pair.end()
        position += 1
    assert len({label for label, _ in labels}) == len(labels), f"a label twice: {line}"
    value = re.fullmatch(rf" ({NUMBER}|NaN|[+-]?Inf)( -?\d+)?", line[position:])
    assert value, f"a wrong value: {line}"
    return name, tuple(labels), float(value[1])


def _check(family):
    assert family.type is not None, f"{family.name} has no type"
    assert family.help, f"{family.name} has no help"
    assert family.samples, f"{family.name} has no samples"
    assert (family.type == "counter") == family.name.endswith("_total"), f"{family.name} is a {family.type}"
    if family.type == "counter":
        assert all(value >= 0 for value in family.samples.values())
    if family.type == "histogram":
        _check_histogram(family)
    if family.type == "summary":
        for (name, labels), value in family.samples.items():
            if name == family.name:
                assert 0 <= float(dict(labels)["quantile"]) <= 1 and (value >= 0 or math.isnan(value))


def _check_histogram(family):
    series = {}
    for (name, labels), value in family.samples.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        parts = series.setdefault(rest, {"buckets": []})
        if name.endswith("_bucket"):
            parts["buckets"].append((float(dict(labels)["le"]), value))
        else:
            parts[name.rpartition("_")[2]] = value
    for labels, parts in series.items():
        bounds, counts = zip(*parts["buckets"])
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf, f"{family.name}{labels}: bounds"
        assert list(counts) == sorted(counts), f"{family.name}{labels}: a bucket has fewer than the one before"
        assert counts[-1] == parts["count"], f"{family.name}{labels}: the last bucket is not the count"
        assert parts["sum"] >= 0


def value(families, name, **labels):
    """The sum of all samples of a metric that have these labels."""
    family = next(family for family in families.values() if name in [key[0] for key in family.samples])
    return sum(
        number
        for (sample, pairs), number in family.samples.items()
        if sample == name and labels.items() <= dict(pairs).items()
    )
