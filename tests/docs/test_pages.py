"""Every command of README and docs is run, and what a page says it prints is what it prints."""

import shlex
import sys

import pytest

from tests.docs.console import Command, blocks, commands, matches, run
from tests.docs.elsewhere import RUN_ELSEWHERE
from tests.docs.place import PAGES, ROOT, clone, environment, put_hub_models, run_in

WITH_COMMANDS = [page for page in PAGES if commands(ROOT / page)]
WITH_SLOW = [page for page in WITH_COMMANDS if any(command.slow for command in commands(ROOT / page))]
WITH_PYTHON = [page for page in PAGES if any(block.language == "pycon" for block in blocks(ROOT / page))]
# Languages of blocks that hold no command, and whether a test reads them: files and sketches for the eye.
NO_COMMANDS = {"", "text", "yaml", "json", "jsonl", "csv", "mermaid"}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def home_with_models(home):
    put_hub_models(home)
    return home


def check(page: str, chosen: list[Command], home, directory) -> None:
    for command in chosen:
        status, printed = run_in(command, directory, home)
        said = "\n".join(printed)
        place = f"{page}:{command.line}: {command.text}"
        assert status in ((1, 2) if command.fails else (0,)), f"{place}\nexit {status}\n{said}"
        assert "Traceback" not in said, f"{place}\n{said}"
        wanted = "\n".join(command.expected)
        assert matches(command.expected, printed, command.vary), f"{place}\nprinted:\n{said}\nthe page says:\n{wanted}"


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_print_what_it_says(page, home, tmp_path):
    check(page, [command for command in commands(ROOT / page) if not command.slow], home, clone(tmp_path / "sumkit"))


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW)
def test_a_page_followed_from_start_to_end_prints_what_it_says(page, home_with_models, tmp_path):
    check(page, commands(ROOT / page), home_with_models, clone(tmp_path / "sumkit"))


@pytest.mark.parametrize("page", PAGES)
def test_every_other_command_is_one_that_another_test_or_place_runs(page):
    for block in blocks(ROOT / page):
        if block.language == "sh":
            for line in block.lines:
                text = line.partition("  #")[0].strip()
                if text and not text.startswith("#"):
                    assert text in RUN_ELSEWHERE, f"{page}:{block.line}: {text}"
        elif page not in ("docs/cli.md", "docs/settings.md"):
            assert block.language in {*NO_COMMANDS, "console", "pycon"}, f"{page}:{block.line}: {block.language}"


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_prints_what_it_says(page, home_with_models, tmp_path):
    """A page's Python sessions, as doctest, one after the other in one process; `...` stands for any text."""
    directory = clone(tmp_path / "sumkit")
    lines = [line for block in blocks(ROOT / page) if block.language == "pycon" for line in (*block.lines, "")]
    session = directory / "session.txt"
    session.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE", session.name]
    variables = environment(home_with_models, with_models=True)
    status, printed = run(Command(shlex.join(command), (), 1), directory, variables)
    assert status == 0, "\n".join(printed)


def test_the_comparison_tells_words_numbers_and_gaps_apart():
    assert matches(["a 1 b"], ["a 1 b"])
    assert not matches(["a 1 b"], ["a 2 b"])
    assert matches(["a 1 b"], ["a 2 b"], vary=True)
    assert not matches(["a 1 b"], ["a 2 c"], vary=True)
    assert matches(["first", "…", "last"], ["first", "x", "y", "last"])
    assert not matches(["first", "…", "last"], ["first", "x", "y"])
    assert matches(["took … in all"], ["took 3 s in all"])
    assert not matches(["one"], ["one", "two"])
