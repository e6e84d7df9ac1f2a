"""Tokenization in which text is data: control tokens come from templates only, never from a document.

Two tokenizers are made from the model's own: `plain`, which knows no control token and encodes documents and
summaries, and `markup`, which encodes template text. Neither adds a beginning-of-text token or a leading space, so
that pieces can be encoded apart and joined. Knows nothing of prompts or lengths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError, ModelError
from common.files import sha256_text
from common.process.threads import let_waiting_threads_sleep

TEMPLATE_DATE = "26 Jul 2024"  # for templates that show one (Llama 3): a prompt must not depend on the day it is made
_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTRUCT_NAME = re.compile(r"(instruct|chat|[-_]it)\b", re.IGNORECASE)


class TextTokenizer:
    """The model's tokenizer, split by role. Build with `load_tokenizer`.

    eos_id       the token that ends a text for this model
    control_ids  every added token that is not mere white space; none of them can come out of `encode_text`
    fingerprint  SHA-256 of the tokenizer: equal for tokenizers that cut texts alike
    bos_ids      what the model expects at the beginning of a text (empty or one token)
    added_ids    the tokens that were added to the model's own, as `load_tokenizer` was asked to
    """

    def __init__(self, pretrained: Any, added_ids: tuple[int, ...] = ()) -> None:
        from tokenizers import Tokenizer

        self.added_ids = added_ids
        self._pretrained = pretrained
        self.fingerprint = sha256_text(pretrained.backend_tokenizer.to_str() + str(pretrained.chat_template))
        full = json.loads(pretrained.backend_tokenizer.to_str())
        _remove_leading_space(full)
        added = [token for token in full.get("added_tokens", []) if token["content"].strip()]
        self.control_ids = frozenset(int(token["id"]) for token in added)
        self._control_texts = [str(token["content"]) for token in added]
        plain = {**full, "added_tokens": [t for t in full.get("added_tokens", []) if not t["content"].strip()]}
        self._markup = _without_limits(Tokenizer.from_str(json.dumps(full)))
        self._plain = _without_limits(Tokenizer.from_str(json.dumps(_drop_template(plain))))
        if pretrained.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
        self.eos_id = int(pretrained.eos_token_id)
        self.vocab_size = len(pretrained)
        self.bos_ids = tuple(i for i in pretrained("")["input_ids"] if i == pretrained.bos_token_id)[:1]

    @property
    def pretrained(self) -> Any:
        """transformers' tokenizer, added tokens included."""
        return self._pretrained

    @property
    def pad_id(self) -> int:
        """A valid id for padding; never trained on, so it may equal `eos_id`."""
        pad = self._pretrained.pad_token_id
        return int(pad) if pad is not None else self.eos_id

    @property
    def has_chat_template(self) -> bool:
        return bool(self._pretrained.chat_template)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of plain text. Control tokens spelled out in it are encoded letter by letter, as text."""
        return self.encode_texts([text])[0]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_text` of many, in parallel threads."""
        cleaned = [without_surrogates(text) for text in texts]
        encoded = [item.ids for item in self._plain.encode_batch_fast(cleaned, add_special_tokens=False)]
        for index, ids in enumerate(encoded):
            if not self.control_ids.isdisjoint(ids):
                encoded[index] = self._encode_in_pieces(cleaned[index])
        return encoded

    def _encode_in_pieces(self, text: str) -> list[int]:
        """For vocabularies that could merge text into a control token: cut each such spelling after one character."""
        pattern = re.compile("|".join(re.escape(token) for token in sorted(self._control_texts, key=len, reverse=True)))
        pieces, start = [], 0
        for match in pattern.finditer(text):
            pieces.append(text[start : match.start() + 1])
            start = match.start() + 1
        pieces.append(text[start:])
        ids = [i for piece in pieces for i in self._plain.encode(piece, add_special_tokens=False).ids]
        return [i for i in ids if i not in self.control_ids]

    def encode_markup(self, text: str) -> list[int]:
        """Token ids of template text, in which control tokens are meant."""
        ids: list[int] = self._markup.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids without control tokens, white space at both ends removed."""
        text: str = self._pretrained.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    def decode_all(self, ids: Sequence[int]) -> str:
        """Text of ids with control tokens spelled out, for showing."""
        text: str = self._pretrained.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def render_chat(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        """The model's own chat template as text. Raises ModelError when the model has none or it fails."""
        if not self.has_chat_template:
            raise ModelError("this model has no chat template; use another --template (sumkit prompts lists them)")
        from jinja2 import TemplateError

        try:
            text: str = self._pretrained.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, date_string=TEMPLATE_DATE
            )
        except TemplateError as error:
            raise ModelError(f"the model's chat template cannot be filled in ({error})") from None
        return text

    def turn_end_id(self) -> int | None:
        """The control token with which the chat template ends an assistant turn; None where there is none."""
        if not self.has_chat_template:
            return None
        marker = "ANSWER"
        chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": marker}]
        tail = self.render_chat(chat, add_generation_prompt=False).rsplit(marker, 1)[-1]
        return next((i for i in self.encode_markup(tail) if i in self.control_ids), None)

    def is_instruct(self, name: str) -> bool:
        """Whether the model was tuned for chat: its template ends a turn with its own EOS, or its name says so.

        (Base models may carry a chat template too: Qwen2.5's does, and never learnt to end a turn with it.)
        """
        end = self.turn_end_id()
        return end is not None and (end == self.eos_id or bool(_INSTRUCT_NAME.search(name)))


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which no tokenizer accepts, by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _remove_leading_space(tokenizer: dict[str, Any]) -> None:
    """Switch off the space that SentencePiece-like tokenizers put before every text."""
    normalizer = tokenizer.get("normalizer")
    if normalizer and normalizer.get("type") == "Sequence":
        kept = [item for item in normalizer["normalizers"] if item.get("type") != "Prepend"]
        normalizer["normalizers"] = kept
    elif normalizer and normalizer.get("type") == "Prepend":
        tokenizer["normalizer"] = None
    pre = tokenizer.get("pre_tokenizer")
    for item in [pre, *((pre or {}).get("pretokenizers") or [])]:
        if item and item.get("type") == "Metaspace":
            item["prepend_scheme"] = "never"
            item.pop("add_prefix_space", None)
        elif item and item.get("type") == "ByteLevel":
            item["add_prefix_space"] = False


def _drop_template(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Without its post-processor, which names control tokens that the plain tokenizer does not have."""
    return {**tokenizer, "post_processor": None}


def _without_limits(tokenizer: Any) -> Any:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_tokenizer(directory: Path, added_tokens: str = "") -> TextTokenizer:
    """The tokenizer of a local model directory, with control tokens added to it (their texts, between commas).

    Raises ModelError when it is missing or damaged, ConfigError for a token that it has already.
    """
    let_waiting_threads_sleep()  # transformers loads torch
    from transformers import AutoTokenizer

    try:
        pretrained = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False)
    except Exception as error:  # the loader raises many kinds; each means that the files are not usable
        raise ModelError(
            f"{directory}: the tokenizer cannot be loaded ({(str(error) or repr(error)).splitlines()[0]})"
        ) from None
    if not getattr(pretrained, "is_fast", False):
        raise ModelError(f"{directory}: the tokenizer has no tokenizer.json; convert it with transformers first")
    return TextTokenizer(pretrained, _add_tokens(pretrained, added_tokens))


def added_names(added_tokens: str) -> list[str]:
    """The tokens that the setting `lora.added_tokens` names, separated by commas."""
    return [text.strip() for text in added_tokens.split(",") if text.strip()]


def _add_tokens(pretrained: Any, added_tokens: str) -> tuple[int, ...]:
    """Add control tokens in place; their ids, in order. A document cannot spell them: see `TextTokenizer`."""
    texts = added_names(added_tokens)
    known = pretrained.get_vocab()
    for text in texts:
        if text in known or texts.count(text) > 1:
            what = "is in the tokenizer already" if text in known else "is named twice"
            raise ConfigError(f"lora.added_tokens: {text!r} {what}; name each new token once")
    if not texts:
        return ()
    from tokenizers import AddedToken

    pretrained.add_tokens([AddedToken(text, special=True, normalized=False) for text in texts], special_tokens=True)
    return tuple(int(i) for i in pretrained.convert_tokens_to_ids(texts))
