"""Conversations as tokens: a chat template's own text around messages that are each tokenized alone.

The template is filled in once for a sequence of roles, with placeholders for the contents; the texts between them are
the template's, and the contents are put in by position, as ids. So whatever a template does with white space, default
system prompts or the place of a message, the trained tokens are exactly those of assistant contents and of what ends
their turns, and no content can act as a control token. Knows nothing of files, nor of optimizer steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from common.errors import ModelError
from common.model.tokenizer import TextTokenizer
from common.types import IGNORED_LABEL, EncodedExample, Message

_MARK = re.compile("\ue000(\\d+)\ue001")  # private-use characters: no template text holds them
Part = str | int  # the template's own text, or the index of a message


@dataclass(frozen=True)
class FittedConversation:
    """An encoded conversation and what it lost to fit: tokens, or turns. `example` is None where it cannot fit."""

    example: EncodedExample | None
    cut_tokens: int = 0
    long_answer: bool = False


class ChatFormat:
    """A model's chat template bound to its tokenizer; EOS ends the last turn where the template ends none."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._layouts: dict[tuple[str, ...], tuple[Part, ...]] = {}
        self._markup: dict[str, tuple[int, ...]] = {}
        self._turn_end = tokenizer.turn_end_id()

    def encode(self, example_id: str, messages: Sequence[Message]) -> EncodedExample:
        """Tokens up to the end of the last assistant turn; labels on every assistant content and its turn's end.

        The last message has to be the assistant's. Raises ModelError when the template refuses the sequence of roles,
        or leaves out, repeats or reorders an assistant's turn.
        """
        return self._assemble(example_id, messages, self._contents(messages))

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens before the content of the last message, an assistant's, whose own content is not looked at.

        Exactly what `encode` puts before it. Raises ModelError as `encode` does.
        """
        asked = (*messages[:-1], Message("assistant", ""))
        ids, _, start = self._tokens(asked, self._contents(asked))
        return tuple(ids[:start])

    def fit(
        self, example_id: str, messages: Sequence[Message], max_length: int, max_answer_tokens: int
    ) -> FittedConversation:
        """Encode within `max_length` tokens: the oldest exchanges go first, then the end of the last question.

        System messages stay, and no assistant turn is cut; one longer than `max_answer_tokens` (its end not counted)
        excludes the conversation. Raises ModelError as `encode` does.
        """
        contents = self._contents(messages)
        answers = [len(ids) for ids, message in zip(contents, messages, strict=True) if message.role == "assistant"]
        if max(answers) >= max_answer_tokens:
            return FittedConversation(None, long_answer=True)
        shortened = self._shortened(messages, contents, max_length)
        if shortened is None:
            return FittedConversation(None)
        kept, ids = shortened
        return FittedConversation(self._assemble(example_id, kept, ids), _lost(contents, ids))

    def fit_prompt(self, messages: Sequence[Message], room: int) -> tuple[tuple[int, ...], int]:
        """`prompt` within `room` tokens, shortened as in `fit`, and how many tokens of content that took.

        Raises ModelError as `encode` does, and when even the last question does not fit.
        """
        asked = (*messages[:-1], Message("assistant", ""))
        contents = self._contents(asked)
        shortened = self._shortened(asked, contents, room + 1)  # the empty answer's end takes one token
        if shortened is None:
            raise ModelError(f"a conversation's last question does not fit into {room} tokens; raise --max-length")
        ids, _, start = self._tokens(*shortened)
        return tuple(ids[:start]), _lost(contents, shortened[1])

    def _shortened(
        self, messages: Sequence[Message], contents: list[list[int]], max_length: int
    ) -> tuple[Sequence[Message], list[list[int]]] | None:
        """Messages and their ids that fit, None where even the last exchange does not."""
        exchanges = sum(message.role == "user" for message in messages)
        for exchange in range(max(1, exchanges)):
            kept, ids = _with_latest(messages, contents, exchange)
            over = len(self._tokens(kept, ids)[0]) - max_length
            if over <= 0:
                return kept, ids
        asked = max((i for i, message in enumerate(kept) if message.role == "user"), default=-1)
        if asked < 0 or len(ids[asked]) <= over:
            return None
        return kept, [part[: len(part) - over] if i == asked else part for i, part in enumerate(ids)]

    def _contents(self, messages: Sequence[Message]) -> list[list[int]]:
        """Ids of each content, with the space before it that the template puts there: tokenizers expect it inside."""
        spaces = self._spaces(messages)
        texts = [space + message.content.strip() for space, message in zip(spaces, messages, strict=True)]
        return self._tokenizer.encode_texts(texts)

    def _spaces(self, messages: Sequence[Message]) -> list[str]:
        spaces = [""] * len(messages)
        parts = self._layout(messages)
        for before, part in pairwise(parts):
            if isinstance(part, int) and isinstance(before, str):
                spaces[part] = before[len(before.rstrip(" ")) :]
        return spaces

    def _layout(self, messages: Sequence[Message]) -> tuple[Part, ...]:
        roles = tuple(message.role for message in messages)
        if roles not in self._layouts:
            self._layouts[roles] = self._read_layout(roles)
        return self._layouts[roles]

    def _read_layout(self, roles: tuple[str, ...]) -> tuple[Part, ...]:
        marked = [{"role": role, "content": f"\ue000{place}\ue001"} for place, role in enumerate(roles)]
        text = self._tokenizer.render_chat(marked, add_generation_prompt=False)
        pieces = _MARK.split(text)  # text, index, text, index, …, text
        parts: list[Part] = [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)]
        shown = [part for part in parts if isinstance(part, int)]
        spoken = [place for place in shown if roles[place] == "assistant"]
        expected = [place for place, role in enumerate(roles) if role == "assistant"]
        if spoken != expected or shown[-1:] != expected[-1:]:
            problem = "does not show each assistant turn once and in order"
            raise ModelError(f"the chat template {problem} ({_listed(roles)})")
        missing = [roles[place] for place in range(len(roles)) if place not in shown]
        if missing:
            raise ModelError(f"the chat template leaves out a {missing[0]} message ({_listed(roles)})")
        return tuple(parts)

    def _assemble(self, example_id: str, messages: Sequence[Message], contents: Sequence[list[int]]) -> EncodedExample:
        ids, trained, _ = self._tokens(messages, contents)
        tokens = np.array(ids, dtype=np.int32)
        labels = np.where(np.array(trained), tokens, IGNORED_LABEL).astype(np.int32)
        return EncodedExample(example_id, tokens, labels)

    def _tokens(self, messages: Sequence[Message], contents: Sequence[list[int]]) -> tuple[list[int], list[bool], int]:
        """Ids up to the end of the last turn, whether each is trained, and where the last content starts."""
        ids: list[int] = []
        trained: list[bool] = []
        speaking, start, end = False, 0, 0
        for part in self._layout(messages):
            if isinstance(part, int):
                speaking, start = messages[part].role == "assistant", len(ids)
                ids += contents[part]
                trained += [speaking] * len(contents[part])
                end = len(ids)
            else:
                markup = self._encoded(part)
                ends = markup.index(self._turn_end) + 1 if speaking and self._turn_end in markup else 0
                end = len(ids) + ends
                ids += markup
                trained += [True] * ends + [False] * (len(markup) - ends)
        ids, trained = ids[:end], trained[:end]
        if self._turn_end is None or ids[-1] != self._turn_end:  # the template ends this turn with no token of its own
            ids, trained = [*ids, self._tokenizer.eos_id], [*trained, True]
        return ids, trained, start

    def _encoded(self, text: str) -> tuple[int, ...]:
        if text not in self._markup:
            self._markup[text] = tuple(self._tokenizer.encode_markup(text.rstrip(" ")))
        return self._markup[text]


def _with_latest(
    messages: Sequence[Message], contents: Sequence[list[int]], exchange: int
) -> tuple[list[Message], list[list[int]]]:
    """System messages and everything from the user turn number `exchange` (0: all), or from the last one."""
    turns = [i for i, message in enumerate(messages) if message.role == "user"]
    first = turns[min(exchange, len(turns) - 1)] if exchange and turns else 0
    kept = [i for i, message in enumerate(messages) if i >= first or message.role == "system"]
    return [messages[i] for i in kept], [contents[i] for i in kept]


def _lost(before: Sequence[list[int]], after: Sequence[list[int]]) -> int:
    return sum(map(len, before)) - sum(map(len, after))


def _listed(roles: Sequence[str]) -> str:
    shown = ", ".join(roles[:6])
    return f"roles: {shown}{', …' if len(roles) > 6 else ''}"
