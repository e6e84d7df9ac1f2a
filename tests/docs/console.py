"""The commands of a Markdown page and what it says they print; running them; comparing.

A fenced block of language `console` holds commands after `$ ` (a backslash at the end continues one) and under each
what it prints, stdout and stderr together. A line that is `…` stands for any lines, `…` within a line for any text.
A command with nothing under it only has to end well. A comment before a block can say more:

    <!-- slow -->           trains or loads a real model: run by the long tests only
    <!-- figures vary -->   numbers depend on machine and model: words and layout are compared, numbers are not
    <!-- fails -->          the last command has to fail, with exit status 1 or 2
    <!-- gated hub -->      the Hub is one that answers as it does for a gated model

Every other command block is of language `sh` and is listed in `elsewhere.py`, with the place that runs it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 1500
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*$")
_MARKS = re.compile(r"^ *<!--(?P<marks>[^>]*)-->$")
_NUMBER = re.compile(r"[+-]?\d[\d,.]*")


@dataclass(frozen=True)
class Command:
    """One command, its expected output line by line, and the line of the page it stands in."""

    text: str
    expected: tuple[str, ...]
    line: int
    slow: bool = False
    vary: bool = False
    fails: bool = False
    gated: bool = False


@dataclass(frozen=True)
class Block:
    """A fenced block as it stands in the page."""

    language: str
    lines: tuple[str, ...]
    line: int
    marks: frozenset[str]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    marks: frozenset[str] = frozenset()
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, lines = fence, []
        elif opened is not None and line.strip() == "```":
            indent = len(opened["indent"])
            cut = tuple(item[indent:] for item in lines)
            found.append(Block(opened["language"], cut, number - len(lines), marks))
            opened, marks = None, frozenset()
        elif opened is not None:
            lines.append(line)
        elif said := _MARKS.match(line):
            marks = frozenset(part.strip() for part in said["marks"].split(","))
        elif line.strip():
            marks = frozenset()
    assert opened is None, f"{page}: a code block is not closed"
    return found


def commands(page: Path) -> list[Command]:
    """The commands of a page's `console` blocks, in order."""
    found: list[Command] = []
    for block in blocks(page):
        if block.language != "console":
            continue
        unknown = block.marks - {"slow", "figures vary", "fails", "gated hub"}
        assert not unknown, f"{page}:{block.line}: {unknown}"
        parts: list[tuple[str, list[str], int]] = []
        continued = False
        for offset, line in enumerate(block.lines):
            if continued:
                text, printed, at = parts[-1]
                parts[-1] = (f"{text}\n{line}", printed, at)
            elif line.startswith("$ "):
                parts.append((line[2:], [], block.line + offset))
            else:
                assert parts, f"{page}:{block.line}: output before a command"
                parts[-1][1].append(line)
            continued = line.endswith("\\") and (continued or line.startswith("$ "))
        for index, (text, printed, at) in enumerate(parts):
            fails = "fails" in block.marks and index == len(parts) - 1
            slow, vary, gated = (mark in block.marks for mark in ("slow", "figures vary", "gated hub"))
            found.append(Command(text, tuple(_without_blank_ends(printed)), at, slow, vary, fails, gated))
    return found


def run(command: Command, directory: Path, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Exit status and lines that `command` prints in `directory`, stdout and stderr as they come."""
    done = subprocess.run(
        ["bash", "-c", command.text], cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
    )  # fmt: skip
    printed = done.stdout.decode("utf-8", "replace").splitlines()
    return done.returncode, list(_without_blank_ends([line.rstrip() for line in printed]))


def matches(expected: Sequence[str], printed: Sequence[str], vary: bool = False) -> bool:
    """Whether the printed lines are the expected ones, `…` and (with `vary`) numbers aside."""
    if not expected:
        return True
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in _plain(line, vary).split("…")) + r"\n"
    return re.fullmatch(pattern, "".join(f"{_plain(line, vary)}\n" for line in printed)) is not None


def _plain(line: str, vary: bool) -> str:
    line = line.rstrip()
    return re.sub(r"[ -]{2,}", "  ", _NUMBER.sub("#", line)) if vary else line


def _without_blank_ends(lines: Sequence[str]) -> Sequence[str]:
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return lines[start:end]
