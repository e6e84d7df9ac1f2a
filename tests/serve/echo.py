"""A model that writes what its document says, at a pace, so that tests can tell what a server makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from common.summarize.summary import Summary, SummaryOptions
from common.summarize.summary_job import OnDone, OnText


class Echo:
    """Writes the document's own words, `pause` seconds before each; `adds` is written after them.

    batches  the documents of every call; `written` counts words over all of them. `fail` in a document raises.
    """

    def __init__(self, name: str, pause: float = 0.0, adds: str = "") -> None:
        self.name = name
        self.pause = pause
        self.adds = adds
        self.batches: list[list[str]] = []
        self.written = 0

    def summarize_all(
        self,
        texts: Sequence[str],
        options: SummaryOptions,
        on_text: OnText | None = None,
        on_done: OnDone | None = None,
        keep_going: Callable[[], None] | None = None,
    ) -> list[Summary]:
        self.batches.append(list(texts))
        summaries = []
        for index, text in enumerate(texts):
            if "fail" in text:
                raise ValueError("the document says fail")
            words = f"{text} {self.adds}".split()[: options.max_new_tokens or None]
            for place, word in enumerate(words):
                time.sleep(self.pause)
                self.written += 1
                if keep_going is not None:
                    keep_going()
                if on_text is not None:
                    on_text(index, word if place == 0 else f" {word}")
            summary = Summary(
                " ".join(words), "length" if options.max_new_tokens else "eos", len(text.split()), len(words)
            )
            summaries.append(summary)
            if on_done is not None:
                on_done(index, summary)
        return summaries
