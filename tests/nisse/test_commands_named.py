"""Every command that a page, a help text or a message names exists, with every option that is named with it."""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_wheel import ROOT

from nisse.cli import COMMANDS, build_parser

PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    file
    for part in ("nisse", "pages", "systems", "tuner", "codegen", "runtime", "hil", "research", "benchmarks")
    for file in sorted((ROOT / part).rglob("*.py"))
]
# In pages a command stands in a block or between backticks; it ends with the line, a comment, or the next command.
COMMAND = re.compile(r"(?:^|[\s`/(])nisse +([a-z][a-z-]*)((?:[ \t]+[^\s`#;&|)]+)*)")


def named(text: str) -> Iterator[tuple[str, list[str]]]:
    """(sub-command, words after it) of all commands in a text."""
    for name, words in COMMAND.findall(text):
        yield name, words.replace("\\", " ").split()


def blocks_and_code(page: str) -> Iterator[str]:
    """What is code in a page: fenced and indented blocks with continuation lines joined, and text in backticks."""
    page = page.replace("\\\n", " ")
    for block in re.findall(r"^```\w*\n(.*?)^```", page, re.M | re.S):
        yield from block.splitlines()
    without = re.sub(r"^```\w*\n.*?^```", "", page, flags=re.M | re.S)
    yield from re.findall(r"^ {4}(\S.*)$", without, re.M)
    for code in re.findall(r"`([^`]+)`", without):
        yield " ".join(code.split())


def strings(source: str) -> Iterator[str]:
    """The texts of a program: literals, and of f-strings what is fixed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from node.value.splitlines()
        elif isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "VALUE" for p in node.values)
            yield from "".join(str(p) for p in parts).splitlines()


@functools.cache
def options(name: str) -> dict[str, frozenset[str]]:
    """sub-sub-command ("" where there is none) -> its options."""
    (choices,) = (a.choices for a in build_parser(name)._actions if isinstance(a, argparse._SubParsersAction))
    parser = choices[name]
    found = {"": frozenset(parser._option_string_actions)}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, sub in action.choices.items():
                with contextlib.suppress(SystemExit):
                    sub.parse_known_args([])  # an experiment declares its options when it is chosen
                found[verb] = frozenset(sub._option_string_actions) | found[""]
    return found


def mistakes(text: str, *, is_code: bool) -> list[str]:
    found = []
    for name, words in named(text):
        if name not in COMMANDS:
            # In a sentence the name of the program may be followed by any word.
            found += [f"nisse {name}"] if is_code or any(w.startswith("--") for w in words[:1]) else []
            continue
        known = options(name)
        verb = words[0] if words and words[0] in known else ""
        allowed = known[verb] if verb else frozenset().union(*known.values())
        for word in words:
            option = re.match(r"--[a-z][a-z0-9-]*", word)
            if option and option[0] not in allowed:
                found.append(f"nisse {name} {verb} {option[0]}")
    return found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nisse identify --log log.csv --save-log x.csv", ["nisse identify  --save-log"]),
        ("sudo /opt/nisse/bin/nisse inti --yes", ["nisse inti"]),
        ("nisse experiment battery-tuning --deltas 1", ["nisse experiment battery-tuning --deltas"]),
        ("nisse key new x.pem && nisse run site.toml --dry-run", []),
    ],
)
def test_what_counts_as_a_mistake(text: str, wrong: list[str]) -> None:
    assert mistakes(text, is_code=True) == wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_commands_and_options_that_exist(page: Path) -> None:
    assert not [m for code in blocks_and_code(page.read_text(encoding="utf-8")) for m in mistakes(code, is_code=True)]


def test_messages_and_help_name_commands_and_options_that_exist() -> None:
    wrong = {
        f"{file.relative_to(ROOT)}": found
        for file in SOURCES
        if (found := [m for text in strings(file.read_text(encoding="utf-8")) for m in mistakes(text, is_code=False)])
    }
    assert not wrong
