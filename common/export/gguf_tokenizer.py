"""A Hugging Face fast tokenizer as the vocabulary fields of a GGUF file.

llama.cpp knows text splitters by name, not by expression; the name is chosen here from the tokenizer's own rules,
and one that llama.cpp does not have is refused. Whether both cut real text alike is checked when the export is
verified. Knows nothing of weights or prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import ModelError

# Token types of llama.cpp (enum llama_token_attr as stored in GGUF).
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITTERS = {_QWEN2_SPLIT: "qwen2", _QWEN2_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1): "llama-bpe"}


@dataclass(frozen=True)
class GgufVocabulary:
    """Vocabulary as GGUF stores it: one entry a token id, up to the rows of the embedding.

    model     `gpt2` (byte-level BPE with merges) or `llama` (SentencePiece-like, with scores)
    splitter  llama.cpp's name of the pre-tokenizer; `default` for `llama`
    """

    model: str
    splitter: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    merges: tuple[str, ...]


def read_vocabulary(tokenizer_json: str, rows: int) -> GgufVocabulary:
    """Vocabulary from the text of a `tokenizer.json`; ids beyond it, up to `rows`, become unused tokens.

    Raises ModelError when llama.cpp has no equivalent, or when the tokenizer has more tokens than the model rows.
    """
    tokenizer = json.loads(tokenizer_json)
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ModelError(f"tokenizers of type {model.get('type')} cannot be written to GGUF; only BPE can")
    splitter = find_splitter(tokenizer)
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}}
    if max(ids.values()) >= rows:
        raise ModelError(f"the tokenizer has token id {max(ids.values())}, the model only {rows} embedding rows")
    tokens = [f"[PAD{i}]" for i in range(rows)]
    types = [UNUSED] * rows
    for text, token_id in ids.items():
        tokens[token_id], types[token_id] = text, NORMAL
    for token in tokenizer.get("added_tokens", []):
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    if splitter != "default":
        return GgufVocabulary("gpt2", splitter, tuple(tokens), tuple(types), (), merges)
    _mark_bytes(model, ids, types)
    return GgufVocabulary("llama", splitter, tuple(tokens), tuple(types), _scores(tokens, merges), ())


def find_splitter(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name for the way this tokenizer cuts text before merging; `default` for SentencePiece-like ones."""
    if tokenizer["model"].get("byte_fallback"):
        return "default"
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    shape = [step.get("type") for step in steps]
    byte_level_splits = bool(steps) and steps[-1].get("use_regex", True)
    if shape == ["ByteLevel"] and byte_level_splits:
        return "gpt-2"
    if shape == ["Digits", "ByteLevel"] and byte_level_splits and steps[0].get("individual_digits"):
        return "smollm"
    if shape == ["Split", "ByteLevel"] and not byte_level_splits:
        known = SPLITTERS.get(str(steps[0].get("pattern", {}).get("Regex")))
        if known:
            return known
    raise ModelError(
        f"llama.cpp has no pre-tokenizer known to equal this model's ({' + '.join(map(str, shape)) or 'none'}); "
        "export --to merged, which keeps the tokenizer as it is"
    )


def _mark_bytes(model: Mapping[str, Any], ids: Mapping[str, int], types: list[int]) -> None:
    for byte in range(256):
        token_id = ids.get(f"<0x{byte:02X}>")
        if token_id is not None:
            types[token_id] = BYTE
    unknown = ids.get(str(model.get("unk_token")))
    if unknown is not None:
        types[unknown] = UNKNOWN


def _scores(tokens: list[str], merges: tuple[str, ...]) -> tuple[float, ...]:
    """SentencePiece scores: the earlier a token is merged, the higher; tokens that no merge makes come last."""
    rank: dict[str, int] = {}
    for position, merge in enumerate(merges):
        rank.setdefault(merge.replace(" ", "", 1), position)
    return tuple(-float(rank.get(token, len(merges))) for token in tokens)
