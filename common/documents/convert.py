"""`python -m common.documents.convert NAME`: a file's bytes on stdin to JSON on stdout, in a process of its own.

For files of unknown origin: whoever starts it can end it, and its memory is bounded.
"""

from __future__ import annotations

import json
import sys

from common.documents.read import document_from_bytes
from common.errors import DataError

MOST_MEMORY_BYTES = 4 << 30


def main(name: str) -> None:
    """Write `{"name", "text", "note"}`, or `{"error"}` for a file that cannot be read."""
    _bound_memory()
    try:
        document = document_from_bytes(name, sys.stdin.buffer.read())
        answer = {"name": document.name, "text": document.text, "note": document.note}
    except DataError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{name}: needs more than {MOST_MEMORY_BYTES >> 30} GB to read"}
    sys.stdout.write(json.dumps(answer))


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    bound = MOST_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MOST_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


if __name__ == "__main__":
    main(sys.argv[1])
