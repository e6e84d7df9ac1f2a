"""A child's standard error, shown as it comes and its end remembered: what it said last tells why it died."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

STDERR = 2  # the descriptor itself: notebooks and test runners replace sys.stderr
KEPT_BYTES = 16384


class ChildStderr:
    """The writing end for a child (`fileno`), and a thread that copies what it writes to our own standard error.

    On a terminal the child gets a terminal too (its bars need one), else a pipe.
    """

    def __init__(self) -> None:
        self._tail = b""
        if _is_terminal():
            import pty

            self._source, self._sink = pty.openpty()
            _copy_window(self._sink)
        else:
            self._source, self._sink = os.pipe()
        self._thread = threading.Thread(target=self._copy, name="child-stderr", daemon=True)

    def fileno(self) -> int:
        return self._sink

    def start(self) -> None:
        """Call when the child has its end: ours is closed, so that the child's death ends the copying."""
        os.close(self._sink)
        self._thread.start()

    def finish(self) -> str:
        """The end of what the child wrote, after it has died."""
        self._thread.join(timeout=5)
        return self._tail.decode("utf-8", "replace")

    def _copy(self) -> None:
        with suppress(OSError):  # a terminal whose other end is closed reports EIO
            while piece := os.read(self._source, 4096):
                self._tail = (self._tail + piece)[-KEPT_BYTES:]
                _write_all(piece)
        os.close(self._source)


def _write_all(piece: bytes) -> None:
    with suppress(OSError):  # nobody reads our standard error: the child must not notice
        view = memoryview(piece)
        while view:
            view = view[os.write(STDERR, view) :]


def _is_terminal() -> bool:
    return os.isatty(STDERR)


def _copy_window(handle: int) -> None:
    """Give the child's terminal our width, and leave line ends as they are."""
    import fcntl
    import termios

    with suppress(OSError, termios.error):
        size = fcntl.ioctl(STDERR, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(handle, termios.TIOCSWINSZ, size)
        modes = termios.tcgetattr(handle)
        modes[1] &= ~termios.OPOST
        termios.tcsetattr(handle, termios.TCSANOW, modes)
