"""What a terminal, a log and a script see: colours, bars, plain lines, quiet and verbose, completion, start-up time."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from common.progress import Progress

MOST_MODULES = 250  # 124 are loaded with Python 3.11; numpy alone brings as many again
SUMKIT = [sys.executable, "-c", "from common.cli.main import main; main()"]
COUNT = (
    "from common.progress import Progress, detail, note, settle_libraries\n"
    "settle_libraries(); note('a note'); detail('a detail')\n"
    "with Progress(3, 'steps', clock=lambda: 0.0) as progress:\n"
    "    for value in range(3): progress.advance(1, loss=value)\n"
)


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SUMKIT, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def on_terminal(*command: str, **environment: str) -> str:
    """What `command` writes when stdout and stderr are a terminal."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env={**os.environ, **environment})
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux: the last writer is gone
            break
        if not part:
            break
        written += part
    process.wait(timeout=30)
    os.close(master)
    return written.decode()


def test_colours_are_for_terminals_and_no_color_switches_them_off():
    on = on_terminal(*SUMKIT, "prompts", NO_COLOR="")
    assert "\x1b[1m" in on
    assert "\x1b[" not in on_terminal(*SUMKIT, "prompts", NO_COLOR="1")
    assert "\x1b[" not in call("prompts").stdout


def test_a_bar_becomes_plain_lines_where_stderr_is_no_terminal():
    bar = on_terminal(sys.executable, "-c", COUNT)
    assert "\rsteps:" in bar
    assert "/3 [" in bar
    log = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert log.stderr == "a note\nsteps: 3/3, loss 2\n"
    assert log.stdout == ""


@pytest.mark.parametrize(("at_once", "left"), [(1, "1 min 30 s left"), (8, "10 s left")])
def test_what_is_worked_on_together_counts_as_half_done_in_the_time_left(monkeypatch, capsys, at_once, left):
    """Of 10 texts that run 8 at once, one is done after 10 s: (10 - 1 - 4) of (1 + 4) done in 10 s are 10 s."""
    now = iter([0.0, 10.0])
    monkeypatch.setenv("SUMKIT_VERBOSE", "1")
    with Progress(10, "texts", at_once=at_once, clock=lambda: next(now)) as texts:
        texts.advance()
    assert capsys.readouterr().err == f"texts: 1/10, {left}\n"


def test_a_bar_shows_the_same_time_left_as_a_line():
    slow = (
        "from common.progress import Progress\n"
        "now = iter([0.0, 1.2, 2.4, 3.6])\n"
        "with Progress(100, 'texts', at_once=100, clock=lambda: next(now)) as texts:\n"
        "    for _ in range(3): texts.advance(1, loss=2)\n"
    )
    shown = on_terminal(sys.executable, "-c", slow, TQDM_MININTERVAL="0")  # tqdm's own clock leaves none out
    assert "loss 2, 1 s left" in shown
    assert "loss 2, 3 s left" in shown


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("SUMKIT_QUIET", ""), ("SUMKIT_VERBOSE", "a note\na detail\nsteps: 1/3, loss 0\nsteps: 2/3, loss 1\n")],
)
def test_quiet_says_nothing_and_verbose_says_each_step(variable, expected):
    environment = {**os.environ, variable: "1"}
    log = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=environment)
    assert log.stderr.startswith(expected)
    assert bool(log.stderr) is bool(expected)


@pytest.mark.parametrize("place", ["before", "after"])
def test_every_command_takes_quiet_and_verbose_and_leaves_the_environment_as_it_was(monkeypatch, place):
    from common.cli.main import COMMANDS, group, run
    from common.progress import quiet, verbose

    seen = []
    monkeypatch.setattr("common.doctor.doctor.diagnose", lambda engine: seen.append((quiet(), verbose())) or 1 / 0)
    for flag in ("--quiet", "-v"):
        with pytest.raises(ZeroDivisionError):
            run(group, [flag, "doctor"] if place == "before" else ["doctor", flag])
    assert seen == [(True, False), (False, True)]
    assert (quiet(), verbose()) == (False, False)
    for name in COMMANDS:
        options = {option for parameter in group.get_command(None, name).params for option in parameter.opts}
        assert {"--quiet", "-q", "--verbose", "-v"} <= options, name


def test_quiet_leaves_errors():
    answer = call("train", "--quiet", "--data", "nowhere.jsonl")
    assert answer.returncode == 1
    assert "there is no such file" in answer.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(shell):
    answer = call(_SUMKIT_COMPLETE=f"{shell}_source")
    assert answer.returncode == 0
    assert "_SUMKIT_COMPLETE" in answer.stdout


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("tr", "plain,train", "score"),
        ("train --model smol", "plain,smollm2-135m", "phi-2"),
        ("train --recipe phi2", "plain,phi2-xsum-t4", "qwen"),
        ("plan --device m1", "plain,m1-16gb", "t4"),
        ("train --schedule co", "plain,cosine", "linear"),
        ("train --data no", "file,no", "demo"),
        ("train --learning", "plain,--learning-rate", "--rank"),
    ],
)
def test_completion_offers_commands_flags_and_names(typed, offered, not_offered):
    words = f"sumkit {typed}".split()
    # The console script's name decides the variable; it is `sumkit` however this test starts it.
    answer = call(_SUMKIT_COMPLETE="bash_complete", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    assert offered in answer.stdout.splitlines()
    assert not_offered not in answer.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["budget", "--flops", "1e18"]])
def test_help_and_budget_start_fast_since_they_load_little(arguments):
    program = (
        f"import sys; sys.argv = ['sumkit', *{arguments!r}]\n"
        "from common.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'mlx', 'transformers', 'numpy', 'pydantic'})\n"
        "print(len(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *_, heavy, modules = answer.stdout.splitlines()
    assert heavy == "set()"
    assert int(modules) < MOST_MODULES


def test_the_version_is_written_in_one_place_only():
    from importlib.metadata import version

    from common.version import VERSION

    answer = call("--version")
    assert answer.stdout == f"sumkit, version {VERSION}\n"
    assert version("sumkit") == VERSION
    root = Path(__file__).resolve().parents[2]
    assert VERSION not in (root / "pyproject.toml").read_text(encoding="utf-8").partition("[project]")[2][:200]
