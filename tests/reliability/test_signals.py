"""Signals at any time: one saves and says how to go on, two leave at once, in preparation and evaluation too."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import psutil
import pytest

from tests.journey.conftest import rows
from tests.waiting import PATIENCE, wait_until


def start(tmp_path, tiny_model, tiny_data, *more, **options):
    run = tmp_path / "run"
    arguments = ["--data", tiny_data, "--model", tiny_model, "--run", run, "--max-length", 192, "--batch-size", 4,
                 "--quantize", "none", "--save-every", 1000, "--eval-every", 1000, *more]  # fmt: skip
    command = [sys.executable, "-m", "cuda_sum.train", *map(str, arguments)]
    return run, subprocess.Popen(command, text=True, **{"stderr": subprocess.PIPE, **options})


def wait_for(process, path):
    wait_until(lambda: path.exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr and process.stderr.read()


def test_a_second_signal_leaves_at_once_without_saving(tmp_path, tiny_model, tiny_data):
    run, process = start(tmp_path, tiny_model, tiny_data, "--steps", 100_000)
    wait_for(process, run / "metrics.jsonl")
    # A stopped child cannot finish its step: both signals are there before it can act on the first.
    (child,) = psutil.Process(process.pid).children()
    child.suspend()
    wait_until(lambda: child.status() == psutil.STATUS_STOPPED)
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGTERM)
    child.resume()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, 143), err
    assert not (run / "checkpoints").exists() or not list((run / "checkpoints").glob("step-*"))


def test_a_signal_to_the_parent_reaches_the_child_once(tmp_path, tiny_model, tiny_data):
    run, process = start(tmp_path, tiny_model, tiny_data, "--steps", 100_000, stdin=subprocess.DEVNULL,
                         start_new_session=True)  # fmt: skip
    wait_for(process, run / "metrics.jsonl")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal, or a notebook's stop button, does
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert f"Continue with: sumkit train --run {run} --resume" in err
    assert list((run / "checkpoints").glob("step-*")), "one Ctrl-C saves"


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_ctrl_c_typed_there_saves(tmp_path, tiny_model, tiny_data):
    main, side = pty.openpty()
    termios.tcsetwinsize(main, (40, 100))
    run, process = start(tmp_path, tiny_model, tiny_data, "--steps", 100_000, stdin=side, stdout=side, stderr=side,
                         preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))  # fmt: skip
    os.close(side)
    shown = b""
    while not re.search(rb"\d(it/s|s/it)", shown):  # a bar that has moved
        shown += os.read(main, 65536)
    os.write(main, b"\x03")
    with contextlib.suppress(OSError):  # the last writer is gone
        while piece := os.read(main, 65536):
            shown += piece
    assert process.wait(PATIENCE) == 130, shown.decode()
    assert b"training:" in shown, shown.decode()
    assert b"finishing this step" in shown
    assert list((run / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_data_is_prepared_ends_in_plain_words(tmp_path, tiny_model, number, status):
    data = tmp_path / "many.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(60_000)), encoding="utf-8")
    run, process = start(tmp_path, tiny_model, data, "--steps", 2, "--verbose")
    wait_until(psutil.Process(process.pid).children)
    (child,) = psutil.Process(process.pid).children()
    wait_until(lambda: child.cpu_times().user >= 1.0)  # past the interpreter's own start
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert not (run / "config.yaml").exists()


@pytest.mark.slow
def test_a_signal_during_the_final_evaluation_leaves_a_run_that_resume_completes(tmp_path, tiny_model, tiny_data):
    run, process = start(tmp_path, tiny_model, tiny_data, "--steps", 2, "--base-template", "same")
    wait_for(process, run / "finished.json")
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"Continue with: sumkit train --run {run} --resume" in err
    again = [sys.executable, "-m", "cuda_sum.train", "--run", str(run), "--resume"]
    answer = subprocess.run(again, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    for name in ("results.json", "predictions.csv", "report.html"):
        assert (run / name).is_file()
