"""A run on a drive like a mounted Google Drive: no hard links, no flock, directories that cannot be synced, entries
that appear late, half-copied newest checkpoints."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from common.errors import CheckpointError
from common.run import checkpoint
from common.run.checkpoint import find_checkpoint
from common.train.training import train_run
from tests.reliability.conftest import assert_same_run

DRIVE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int refuse(int number) { errno = number; return -1; }
int link(const char *a, const char *b) { return refuse(EPERM); }
int linkat(int a, const char *b, int c, const char *d, int e) { return refuse(EPERM); }
int symlink(const char *a, const char *b) { return refuse(EPERM); }
int flock(int handle, int operation) { return refuse(ENOTSUP); }
int fsync(int handle) {
    struct stat facts;
    if (fstat(handle, &facts) == 0 && S_ISDIR(facts.st_mode)) return refuse(EINVAL);
    return syscall(SYS_fsync, handle);
}
"""


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Environment variables under which a process finds the system calls that such a drive refuses refused."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("refusing system calls needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("drive")
    (folder / "drive.c").write_text(DRIVE)
    library = folder / "drive.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "drive.c"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


def test_what_such_a_drive_refuses_is_refused(tmp_path, drive):
    code = (
        "import errno, fcntl, os, sys\n"
        "open('a', 'w').close()\n"
        "for action in (lambda: os.link('a', 'b'), lambda: fcntl.flock(os.open('.', 0), fcntl.LOCK_EX),\n"
        "               lambda: os.fsync(os.open('.', 0))):\n"
        "    try: action()\n"
        "    except OSError: continue\n"
        "    sys.exit(1)\n"
        "os.fsync(os.open('a', 0))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=drive)


@pytest.mark.slow
def test_a_run_is_made_locked_and_resumed_there(tmp_path, tiny_model, tiny_data, drive):
    runs = tmp_path / "elsewhere", tmp_path / "drive"
    for run, environment in zip(runs, (dict(os.environ), drive), strict=True):
        for stopped_after in (0,) if run is runs[0] else (2, 0):
            arguments = ["--data", tiny_data, "--model", tiny_model, "--run", run, "--steps", 4, "--save-every", 1,
                         "--max-length", 192, "--batch-size", 4, "--no-final-eval", "--resume"]  # fmt: skip
            command = [sys.executable, "-m", "cuda_sum.train", *map(str, arguments)]
            answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert answer.returncode == 0, answer.stderr
            if stopped_after:  # as if it had ended there
                (run / "finished.json").unlink()
                for number in range(stopped_after + 1, 5):
                    shutil.rmtree(run / "checkpoints" / f"step-{number}", ignore_errors=True)
    assert not (runs[1] / "run.lock").exists()
    assert_same_run(*runs)


def test_an_old_checkpoint_goes_only_when_the_new_one_can_be_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VISIBLE_SECONDS", 5)
    late = tmp_path / "step-2" / "manifest.json"

    def appear():
        late.parent.mkdir()
        late.write_text("{}")

    threading.Timer(0.5, appear).start()
    checkpoint._wait_until_visible(late)
    assert late.is_file()
    monkeypatch.setattr(checkpoint, "VISIBLE_SECONDS", 1)
    with pytest.raises(CheckpointError, match="cannot be seen after 1 s"):
        checkpoint._wait_until_visible(tmp_path / "step-4" / "manifest.json")


@pytest.mark.parametrize("damage", ["truncated", "flipped byte", "missing", "empty manifest"])
def test_a_half_copied_newest_checkpoint_is_named_set_aside_and_passed(tmp_path, tiny_config, damage, capsys):
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = {"quantize": "none", "keep_checkpoints": 2, "eval_every": 2}
    train_run(tiny_config(whole, **settings), whole, resume=False, requested_engine="cuda")
    shutil.copytree(whole, run)
    (run / "finished.json").unlink()
    newest = run / "checkpoints" / "step-6"
    file = newest / ("manifest.json" if damage == "empty manifest" else "engine_cuda.safetensors")
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped byte":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"")
    found, problems = find_checkpoint(run / "checkpoints")
    assert found is not None
    assert found.state.step == 4
    assert str(file) in problems[0]
    train_run(tiny_config(run, **settings), run, resume=True, requested_engine="cuda")
    said = capsys.readouterr().err
    assert str(file) in said
    assert "step-6 is damaged and was renamed to damaged-step-6" in said
    assert "resuming from" in said
    assert_same_run(whole, run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-4", "step-6"]


def test_with_nothing_but_damaged_checkpoints_it_is_said_that_training_starts_again(tmp_path, tiny_config, capsys):
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = {"quantize": "none", "steps": 2}
    train_run(tiny_config(whole, **settings), whole, resume=False, requested_engine="cuda")
    shutil.copytree(whole, run)
    (run / "finished.json").unlink()
    (run / "checkpoints" / "step-2" / "state.json").write_text(json.dumps({"step": "two"}))
    train_run(tiny_config(run, **settings), run, resume=True, requested_engine="cuda")
    assert "no undamaged checkpoint is left; training starts again from step 0" in capsys.readouterr().err
    assert_same_run(whole, run)
