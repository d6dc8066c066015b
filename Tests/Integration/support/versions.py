"""File contents in which every block says whose it is: the file, the version, the place.

A content is described by its runs, a list of `[file, version, start, end]` without gaps: bytes `start..<end` are those
of that version of that file. Version 0 is zeros. So a description is short, whatever the size, and bytes that belong
to another file, an older version or another place show.
"""

import hashlib

BLOCK = 4096


def _block(file, version, number):
    if version == 0:
        return bytes(BLOCK)
    head = f"|{file:>16.16}|{version:08}|{number:08}|".encode()
    filler = hashlib.blake2b(head).digest()
    return (head + filler * (BLOCK // len(filler)))[:BLOCK]


def render_run(file, version, start, end):
    first = start // BLOCK
    blocks = b"".join(_block(file, version, number) for number in range(first, -(-end // BLOCK)))
    return blocks[start - first * BLOCK : end - first * BLOCK]


def render(runs, start=0, end=None):
    """The bytes of a content, or of a part of it."""
    end = size(runs) if end is None else end
    pieces = [
        render_run(file, version, max(first, start), min(last, end))
        for file, version, first, last in runs
        if first < end and last > start
    ]
    return b"".join(pieces)


def size(runs):
    return runs[-1][3] if runs else 0


def whole(file, version, length):
    return [[file, version, 0, length]] if length else []


def truncated(runs, length):
    """Cut off, or made longer with zeros."""
    kept = [[file, version, start, min(end, length)] for file, version, start, end in runs if start < length]
    if size(kept) < length:
        kept.append(["", 0, size(kept), length])
    return kept


def patched(runs, file, version, start, end):
    """With one range written anew; a gap before it reads as zeros."""
    if start == end:
        return runs
    before = truncated(runs, start)
    behind = [[name, number, max(first, end), last] for name, number, first, last in runs if last > end]
    return before + [[file, version, start, end]] + behind


def describe(content):
    """What blocks some bytes are made of, for the message of a test that fails."""
    kinds = []
    for offset in range(0, len(content), BLOCK):
        block = content[offset : offset + BLOCK]
        head = block[:40].split(b"|")
        if len(head) >= 4 and head[0] == b"":
            number = int(head[3]) if head[3].isdigit() else -1
            place = "" if number * BLOCK == offset else f" misplaced from block {number}"
            kinds.append(f"{head[1].decode(errors='replace').strip()} v{head[2].decode(errors='replace')}{place}")
        else:
            kinds.append("zeros" if not any(block) else "other bytes")
    runs = []
    for number, kind in enumerate(kinds):
        if not runs or runs[-1][0] != kind:
            runs.append([kind, number, number])
        runs[-1][2] = number
    return f"{len(content)} bytes: " + ", ".join(f"[{first}-{last}] {kind}" for kind, first, last in runs[:12])
