"""Keeps a Mac from falling asleep while a process runs. Other systems are left to their own settings."""

from __future__ import annotations

import subprocess
import sys

from common.progress import detail, note


def awake_command(pid: int) -> list[str]:
    """caffeinate(8): no idle sleep (-i), and none of the disk (-m), until process `pid` ends (-w)."""
    return ["caffeinate", "-i", "-m", "-w", str(pid)]


def keep_awake(pid: int) -> bool:
    """On macOS hold off idle sleep until process `pid` ends; returns whether it is held off.

    Closing the lid still sleeps; the run then goes on when it is opened.
    """
    if sys.platform != "darwin":
        return False
    try:
        subprocess.Popen(awake_command(pid), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    except OSError as error:
        note(f"warning: this Mac may fall asleep during the run (caffeinate: {error.strerror})")
        return False
    detail("idle sleep is held off until the run ends")
    return True
