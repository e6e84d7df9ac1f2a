"""One run per directory: refused while the holder lives, taken over when it died, also from another machine."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from common.errors import CheckpointError
from common.run.directory import RunDirectory
from common.run.lock import NAME, RunLock, machine_id, platform_uuid
from tests.waiting import wait_until

HOLD = """
import signal, sys
from pathlib import Path
from common.run.lock import RunLock
from common.run.directory import RunDirectory
with RunLock(RunDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    signal.pause()
"""
RACE = """
import sys
from pathlib import Path
from common.errors import CheckpointError
from common.run.lock import RunLock
from common.run.directory import RunDirectory
print("ready", flush=True)
sys.stdin.readline()
try:
    with RunLock(RunDirectory(Path(sys.argv[1]))):
        print("held", flush=True)
        sys.stdin.readline()
except CheckpointError as error:
    print("refused", flush=True)
"""


def test_a_living_holder_is_respected_and_a_killed_one_is_not(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(CheckpointError, match=f"in use by process {holder.pid}"), RunLock(RunDirectory(tmp_path)):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / NAME).is_file(), "the crash left its lock"
    with RunLock(RunDirectory(tmp_path)):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / NAME).exists()


def test_of_many_that_find_a_stale_lock_at_once_one_gets_it(tmp_path):
    stale = {"pid": 2**22 + 1, "host": os.uname().nodename, "machine": machine_id(), "token": "t", "beat": 0}
    (tmp_path / NAME).write_text(json.dumps(stale))
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(4)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 4
    for racer in racers:
        racer.stdin.write("go\n")
    said = [racer.stdout.readline() for racer in racers]
    for racer in racers:  # the holder kept the lock until all had tried
        racer.communicate()
    assert sorted(said) == ["held\n", *["refused\n"] * 3]


def other_machine(path, beat=0):
    lock = {"pid": 7, "host": "another-machine", "machine": "another", "token": "t", "beat": beat}
    (path / NAME).write_text(json.dumps(lock))


def test_another_machine_that_is_silent_is_taken_over(tmp_path, capsys):
    other_machine(tmp_path)
    paused = []
    with RunLock(RunDirectory(tmp_path), silent_seconds=90.0, pause=paused.append):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert sum(paused) == pytest.approx(90.0)
    said = capsys.readouterr().err
    assert "another-machine; watching for 90 s" in said
    assert "no sign of life" in said


def test_another_machine_whose_heart_beats_is_respected(tmp_path):
    other_machine(tmp_path)
    paused = []

    def beat_at_the_last_moment(seconds):
        paused.append(seconds)
        if sum(paused) > 118.0:
            other_machine(tmp_path, beat=1)

    with (
        pytest.raises(CheckpointError, match="process 7 on another-machine"),
        RunLock(RunDirectory(tmp_path), pause=beat_at_the_last_moment),
    ):
        pass
    assert len(paused) > 100


def test_a_lock_untouched_for_hours_is_taken_over_at_once(tmp_path):
    other_machine(tmp_path)
    os.utime(tmp_path / NAME, (time.time() - 7200,) * 2)
    paused = []
    with RunLock(RunDirectory(tmp_path), pause=paused.append):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert not paused


def test_the_holder_shows_that_it_lives(tmp_path):
    with RunLock(RunDirectory(tmp_path), beat_seconds=0.05):
        wait_until(lambda: json.loads((tmp_path / NAME).read_text())["beat"] >= 2)
    assert not (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_machine_left_under_another_host_name_is_taken_over_at_once(tmp_path, capsys):
    """The host name of a Mac changes with the network; what counts is the machine."""
    left = {"pid": 7, "host": "at-home.local", "machine": machine_id(), "token": "t", "beat": 3}
    (tmp_path / NAME).write_text(json.dumps(left))
    with RunLock(RunDirectory(tmp_path)):
        assert json.loads((tmp_path / NAME).read_text())["host"] == os.uname().nodename
    assert "watching" not in capsys.readouterr().err


def test_on_a_file_system_without_locks_the_process_is_looked_up(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with RunLock(RunDirectory(tmp_path)):
        with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"), RunLock(RunDirectory(tmp_path)):
            pass
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid(), "the one who was refused left it alone"
    assert not (tmp_path / NAME).exists()
    killed = {"pid": 2**22 + 1, "host": "here", "machine": machine_id(), "started": 1.0, "token": "t", "beat": 5}
    (tmp_path / NAME).write_text(json.dumps(killed))
    with RunLock(RunDirectory(tmp_path)):
        assert json.loads((tmp_path / NAME).read_text())["beat"] == 0


def test_the_id_of_a_mac_is_found_in_its_registry():
    registry = '    "IOBusyInterest" = "x"\n    "IOPlatformUUID" = "9F2C1E00-0000-5A5A-B1B1-0123456789AB"\n'
    assert platform_uuid(registry) == "9F2C1E00-0000-5A5A-B1B1-0123456789AB"
    assert platform_uuid("") == ""
