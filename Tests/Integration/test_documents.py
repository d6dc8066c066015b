"""What documents say about files, sections and messages is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LEVELS = {"trace", "debug", "info", "notice", "warning", "error"}


def without_code(text):
    """The text without fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchor(heading):
    """The name that a heading gets: lower case, blanks as hyphens, without punctuation."""
    plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower())
    return plain.strip().replace(" ", "-")


def anchors(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\[[^]]*\]\(([^)\s]+)\)", without_code(document.read_text()))
    wrong = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        name, _, section = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (section and section not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_document_can_be_found():
    """From the README, or from a document that it names."""
    reachable, new = set(), {ROOT / "README.md"}
    while new:
        reachable |= new
        links = {
            (document.parent / link.partition("#")[0]).resolve()
            for document in new
            if document.suffix == ".md"
            for link in re.findall(r"\]\(([^):\s]+)\)", document.read_text())
        }
        new = {path for path in links if path.is_file()} - reachable
    manuals = {path for path in ROOT.glob("docs/*.[158]")}
    assert {path for path in [*ROOT.glob("docs/*.md"), *manuals]} <= reachable


# MARK: Commands

# What the types of commands are called, without those that are parts of others.
COMMANDS = {
    name
    for path in ROOT.glob("Sources/waysfs/**/*.swift")
    for name in re.findall(
        r'^  static let configuration = CommandConfiguration\(\s*commandName: "([^"]+)"', path.read_text(), re.MULTILINE
    )
}


def commands_in(document):
    """The word that follows `waysfs` in code, in quotes, or in what a manual page marks as a command."""
    text = document.read_text()
    if document.suffix != ".md":
        return re.findall(r"^(?:\.Nm|\.Nm waysfs) Cm ([a-z-]+)", text, re.MULTILINE)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if kind not in ("error", "log") for line in block.splitlines()]
    # A span may go on in the next line.
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", plain) + re.findall(r"'(waysfs [^'\n]+)'", text)
    found = [re.match(r"(?:\$ |sudo )*waysfs\s([a-z][a-z-]*)", code) for code in lines + spans]
    return [match[1] for match in found if match]


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted(ROOT.glob("docs/*.[158]"))], ids=lambda path: path.name)
def test_commands_that_are_named_are_there(document):
    assert set(commands_in(document)) <= COMMANDS


def test_every_command_is_in_the_manual_and_in_a_document():
    """But for the one that prints documents, which `make docs` calls."""
    named = {word for document in DOCUMENTS for word in commands_in(document)}
    manual = (ROOT / "docs/waysfs.1").read_text()
    described = set(re.findall(r"^\.Nm Cm ([a-z-]+)", manual, flags=re.MULTILINE))
    public = COMMANDS - {"waysfs", "docs"}
    assert len(public) > 8 and public <= named and public <= described


# MARK: Messages that troubleshooting.md quotes


def literals(source):
    """The string literals of a Swift file: what is interpolated is a NUL, and lines that are continued are one."""
    found = []
    # Interpolations with parentheses and literals in them, innermost first.
    text = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    for long, short in re.findall(r'"""\n(.*?)"""|"((?:[^"\\\n]|\\\((?:[^()]|\([^()]*\))*\)|\\.)*)"', text, re.DOTALL):
        literal = re.sub(r"\\\n\s*", "", re.sub(r"^\s+", "", long, flags=re.MULTILINE)) if long else short
        while re.search(r"\\\([^()]*\)", literal):
            literal = re.sub(r"\\\([^()]*\)", "\0", literal)
        while re.search(r"\\\((?:[^()]|\([^()]*\))*\)", literal):
            literal = re.sub(r"\\\((?:[^()]|\([^()]*\))*\)", "\0", literal)
        found.append(literal.replace('\\"', '"'))
    # Literals that are added to each other say one thing.
    return "\n".join(found) + "\n" + "".join(found)


SOURCES = "\n".join(literals(path.read_text()) for path in sorted(ROOT.glob("Sources/**/*.swift")))
CODE = "\n".join(path.read_text() for path in sorted(ROOT.glob("Sources/**/*.swift")))


def quoted(kind):
    text = (ROOT / "docs/troubleshooting.md").read_text()
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def missing(text):
    """Constant parts of a message that no literal has. `<...>` stands for what differs."""
    # What a Failure puts together: `waysfs: doing: reason. remedy.`, and what it puts into parentheses.
    pieces = [piece.strip(" ()") for piece in re.split(r"<[^>]*>|: |; |\. |\.$", text)]
    pieces = [piece for piece in pieces if len(piece) > 3 and piece != "waysfs"]
    assert pieces, f"nothing of this is constant: {text}"
    return [piece for piece in pieces if piece not in SOURCES]


@pytest.mark.parametrize("line", quoted("error"))
def test_quoted_errors_are_in_the_sources(line):
    assert missing(line) == []


@pytest.mark.parametrize("line", quoted("log"))
def test_quoted_log_lines_are_in_the_sources(line):
    level, _, rest = line.partition(" ")
    assert level in LEVELS
    values = re.findall(r" (\w+)=<[^>]*>", rest)
    message = re.sub(r" \w+=<[^>]*>", "", rest)
    assert missing(message) == []
    assert values == sorted(values), "values come in the order of their names"
    assert [name for name in values if f'"{name}":' not in CODE] == []


def test_something_is_quoted():
    assert len(quoted("log")) > 10 and len(quoted("error")) > 10
