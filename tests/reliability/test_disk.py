"""Full disk, quota, read-only and vanished directory: the previous checkpoint stays whole, the message says what to
do, and the run goes on afterwards as if nothing had happened."""

import errno
import re
import resource
import shutil
from pathlib import Path

import pytest

from common.errors import CheckpointError
from common.files import disk_error, finish_interrupted, write_atomically, write_text
from common.journey import train_and_evaluate
from common.order import Order
from common.run.checkpoint import find_checkpoint
from common.train.training import train_run
from tests.journey.conftest import ENGINES
from tests.reliability.conftest import assert_same_run, cover_read_only, mounted_disk, remount, uncover

ROOMY = 64 << 20


def run_size(run: Path) -> int:
    """Bytes in whole pages, as a file system counts them."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in run.rglob("*") if path.is_file())


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return request.param


def fill_and_resume(tmp_path, tiny_config, engine, size, whole, **settings):
    """Run on a disk of `size` bytes until it is full, then give it room. Returns whether it was ever full."""
    with mounted_disk(tmp_path / f"disk-{size}", size) as disk:
        run = disk / "run"
        config = tiny_config(run, engine=engine, **settings)
        try:
            train_and_evaluate(Order(config))
            was_full = False
        except CheckpointError as error:
            was_full = True
            message = str(error)
            assert str(run) in message
            assert "No space left" in message
            assert re.search(r"\d [KM]iB are needed", message)
            assert "free there" in message
            _, problems = find_checkpoint(run / "checkpoints")
            assert not problems, "a checkpoint that is there is whole"
            assert not list(run.rglob("*.partial")), "what a failed write took was freed"
        remount(disk, f"size={ROOMY}")
        assert train_and_evaluate(Order(config, resume=True)).exit_code == 0
        assert_same_run(whole, run)
        for name in ("predictions.csv", "predictions-lead3.csv"):
            if (whole / name).is_file():
                assert (run / name).read_bytes() == (whole / name).read_bytes()
    return was_full


def test_a_disk_that_fills_up_loses_nothing(tmp_path, tiny_config, engine):
    whole = tmp_path / "whole"
    settings = {"final_eval": False, "quantize": "none", "keep_checkpoints": 1}
    train_run(tiny_config(whole, **settings), whole, resume=False, requested_engine=engine)
    size = run_size(whole)
    shares = (0.1, 0.5, 0.8)
    full = [fill_and_resume(tmp_path, tiny_config, engine, int(size * part), whole, **settings) for part in shares]
    assert all(full)


@pytest.mark.slow
def test_wherever_the_disk_fills_up_nothing_is_lost(tmp_path, tiny_config, engine):
    whole = tmp_path / "whole"
    settings = {"quantize": "none", "keep_checkpoints": 2, "eval_rouge": 2}
    assert train_and_evaluate(Order(tiny_config(whole, engine=engine, **settings))).exit_code == 0
    size = run_size(whole)
    sizes = [size * part // 24 // 4096 * 4096 for part in range(1, 30)]
    full = [fill_and_resume(tmp_path, tiny_config, engine, one, whole, **settings) for one in sizes]
    print(f"{engine}: {sum(full)} of {len(full)} sizes filled up, {sizes[0]} to {sizes[-1]} bytes")
    assert sum(full) > 15
    assert not full[-1]


def test_a_limit_on_file_size_is_named_and_raising_it_lets_the_run_go_on(tmp_path, tiny_config, engine):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_run(tiny_config(whole, quantize="none"), whole, resume=False, requested_engine=engine)
    config = tiny_config(run, quantize="none")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-2.*File too large.*[KM]iB are needed.*ulimit -f"):
            train_run(config, run, resume=False, requested_engine=engine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    train_run(config, run, resume=True, requested_engine=engine)
    assert_same_run(whole, run)


def test_a_drive_that_turns_read_only_is_named_and_the_run_goes_on_later(tmp_path, tiny_config, at_step):
    whole = tmp_path / "whole"
    settings = {"quantize": "none", "log_every": 3}
    train_run(tiny_config(whole, **settings), whole, resume=False, requested_engine="cuda")
    with mounted_disk(tmp_path / "disk", ROOMY) as disk:
        run = disk / "run"
        at_step(3, lambda: cover_read_only(disk))
        with pytest.raises(CheckpointError, match=r"checkpoints/step-4: cannot be written \(Read-only.*writable"):
            train_run(tiny_config(run, **settings), run, resume=False, requested_engine="cuda")
        uncover(disk)
        at_step(0, lambda: None)
        train_run(tiny_config(run, **settings), run, resume=True, requested_engine="cuda")
        assert_same_run(whole, run)


def test_a_read_only_place_is_refused_before_any_work(tmp_path, tiny_config):
    with mounted_disk(tmp_path / "disk", ROOMY) as disk:
        remount(disk, "ro")
        with pytest.raises(CheckpointError, match=r"run\.lock.*Read-only"):
            train_run(tiny_config(disk / "run"), disk / "run", resume=False, requested_engine="cuda")


def test_a_vanished_directory_is_named_not_made_anew(tmp_path, tiny_config, at_step):
    whole, run, away = tmp_path / "whole", tmp_path / "run", tmp_path / "away"
    settings = {"quantize": "none", "log_every": 3}
    train_run(tiny_config(whole, **settings), whole, resume=False, requested_engine="cuda")
    at_step(3, lambda: shutil.move(run, away))
    with pytest.raises(CheckpointError, match=r"run has vanished .*--resume"):
        train_run(tiny_config(run, **settings), run, resume=False, requested_engine="cuda")
    assert not run.exists()
    shutil.move(away, run)
    at_step(0, lambda: None)
    train_run(tiny_config(run, **settings), run, resume=True, requested_engine="cuda")
    assert_same_run(whole, run)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EROFS, "writable"),
        (errno.EACCES, "writable"),
        (errno.ENOTCONN, "bring it back"),
        (errno.EIO, "bring it back"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_each_kind_of_refusal_has_its_remedy(tmp_path, number, words):
    message = str(disk_error(tmp_path / "file", OSError(number, "refused"), 3_000_000))
    assert str(tmp_path / "file") in message
    assert words in message
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        assert "about 2.86 MiB are needed" in message


def test_a_failed_replacement_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def half(aside):
        aside.write_text("ne")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(CheckpointError):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replacement_killed_between_its_two_renames_is_taken_back(tmp_path):
    (tmp_path / ".step-4.old").mkdir()
    (tmp_path / ".step-4.old" / "file").write_text("whole")
    (tmp_path / ".step-6.partial").mkdir()
    (tmp_path / ".results.json.partial").write_text("{")
    (tmp_path / "step-2").mkdir()
    finish_interrupted(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-4"]
    assert (tmp_path / "step-4" / "file").read_text() == "whole"
