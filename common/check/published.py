"""How published checkers are asked: the text around document and claim, the passages, and which label means what.

Templates and passage lengths are those of the models' own code (FactCG: Lei et al. 2025; MiniCheck: Tang et al.
2024; LettuceDetect: Kovács and Recski 2025). All other sentence-pair classifiers are asked as pairs, premise first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.check.passages import Span
from common.errors import ModelError
from common.metrics.sentences import sentence_spans

_SUPPORTED = frozenset(
    {"entailment", "entailed", "entails", "entail", "supported", "supports", "support", "consistent", "faithful"}
    | {"grounded", "factual", "yes", "true", "1"}
)
_HALLUCINATED = frozenset({"hallucinated", "hallucination", "unsupported", "notsupported", "hallucinatory"})
_TOKEN_SUPPORTED = frozenset({"supported", "consistent", "faithful", "grounded", "nothallucinated"})
_GENERIC = re.compile(r"label\d+")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Protocol:
    """What a model is given.

    text            one text with {document} and {claim} in it; empty gives them as a pair
    join            what stands between the sentences of a passage; None leaves the document's own white space
    most_tokens     tokens of an input, 0 as the model's tokenizer says
    passage_tokens  tokens of a passage, 0 as many as fit; `passage_words` the same in words and punctuation marks
    label           index of the label `supported`, or for tokens `hallucinated`, where labels have no names
    """

    text: str = ""
    join: str | None = None
    most_tokens: int = 0
    passage_tokens: int = 0
    passage_words: int = 0
    label: int | None = None

    def passage(self, document: str, span: Span) -> str:
        """The passage as the model reads it."""
        text = document[span[0] : span[1]]
        return text if self.join is None else self.join.join(text[a:b] for a, b in sentence_spans(text))


PAIR = Protocol()
FACTCG = Protocol(
    text='{document}\n\nChoose your answer: based on the paragraph above can we conclude that "{claim}"?\n\n'
    "OPTIONS:\n- Yes\n- No\nI think the answer is ",
    join="\n",
    most_tokens=2048,
    passage_words=550,
    label=1,
)
MINICHECK = Protocol(text="{document}{eos}{claim}", join=" ", passage_tokens=400, label=1)
TOKENS = Protocol(text="Summarize the following text:\npassage 1: {document}\noutput:", most_tokens=4096)
LETTUCE = Protocol(TOKENS.text, most_tokens=TOKENS.most_tokens, label=1)
_BY_NAME = {"factcg": FACTCG, "minicheck": MINICHECK}


def protocol_of(model: str, of_tokens: bool) -> Protocol:
    """By the model's own name: a Hub id, or a directory called after it (also in the Hub's cache)."""
    parts = Path(model).parts
    named = [part.lower() for part in parts if part.startswith("models--")] + [part.lower() for part in parts[-1:]]
    if of_tokens:
        return LETTUCE if any("lettuce" in name for name in named) else TOKENS
    return next((own for word, own in _BY_NAME.items() if any(word in name for name in named)), PAIR)


def supported_label(model: str, labels: Mapping[int, str], protocol: Protocol) -> int:
    """Index of the label that means supported. Raises ModelError naming the labels where none or several do."""
    found = [index for index, name in labels.items() if _plain(name) in _SUPPORTED]
    if len(found) == 1:
        return found[0]
    if _unnamed(labels) and protocol.label is not None:
        return protocol.label
    raise _unclear(model, labels, 'supported; set id2label there, such as {"0": "unsupported", "1": "supported"}')


def hallucinated_label(model: str, labels: Mapping[int, str], protocol: Protocol) -> int:
    """Index of the token label that means hallucinated. Raises ModelError as `supported_label` does."""
    found = [index for index, name in labels.items() if _plain(name) in _HALLUCINATED]
    if not found and len(labels) == 2:
        found = [1 - index for index, name in labels.items() if _plain(name) in _TOKEN_SUPPORTED]
    if len(found) == 1:
        return found[0]
    if _unnamed(labels) and protocol.label is not None:
        return protocol.label
    raise _unclear(model, labels, 'hallucinated; set id2label there, such as {"0": "supported", "1": "hallucinated"}')


def count_marks(text: str) -> int:
    """Words and punctuation marks."""
    return len(_WORD.findall(text))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", str(name).lower())


def _unnamed(labels: Mapping[int, str]) -> bool:
    return len(labels) == 2 and all(_GENERIC.fullmatch(_plain(name)) for name in labels.values())


def _unclear(model: str, labels: Mapping[int, str], remedy: str) -> ModelError:
    listed = ", ".join(str(name) for name in labels.values())
    return ModelError(
        f"{model} cannot be used as a checker: of its labels {listed} config.json says not which means {remedy}"
    )
