"""sumkit: fine-tune a small language model into your own summarizer. Importing this package imports nothing heavy.

from common import Summarizer

Summarizer.load("runs/notes").summarize("A long text …").text
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.summarize.summarizer import Summarizer

__all__ = ["Summarizer"]


def __getattr__(name: str) -> Any:
    """Import `Summarizer` when it is first asked for."""
    if name == "Summarizer":
        from common.summarize.summarizer import Summarizer

        return Summarizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
