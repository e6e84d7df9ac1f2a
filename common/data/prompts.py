"""Prompt templates, and the one object that turns a document into prompt tokens.

Training, evaluation, `summarize` and `serve` all go through `PromptFormat`, so inference cannot differ from
training. A document is put into its template by position, as token ids; nothing in it can act as a template field
or control token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common.data.chat import ChatFormat
from common.errors import ConfigError
from common.files import write_text
from common.model.tokenizer import TextTokenizer
from common.nearest import did_you_mean
from common.types import Example

FIELD = re.compile(r"\{(document|max_words)\}")
_PLACEHOLDER = "\ue000document\ue001"  # private-use characters: no template text holds them


@dataclass(frozen=True)
class Template:
    """A prompt with one `{document}` field and optionally `{max_words}`.

    `join` is the white space between prompt and summary; it is tokenized with the summary, where tokenizers expect
    it. With `chat` the text becomes the user's message in the model's own chat template, after `system` if given.
    """

    name: str
    text: str
    join: str = " "
    chat: bool = False
    system: str = ""


BUILT_IN: dict[str, Template] = {
    template.name: template
    for template in (
        Template("direct", "{document}\n\nSummary:"),
        Template("simple", "Summarize the following text.\n\n{document}\n\nSummary:"),
        Template(
            "instruct",
            "### Instruction:\nWrite a one-sentence summary of the text.\n\n### Text:\n{document}\n\n### Response:",
            join="\n",
        ),
        Template("article", "### Article:\n{document}\n\n### Summary:", join="\n"),
        Template("prefix", "Summarize: {document}\nTarget:"),
        Template("question", "{document}\n\nQuestion: What is the main point of this text?\nAnswer:"),
        Template(
            "limit",
            "Summarize the text below in one sentence of at most {max_words} words.\n\n{document}\n\nSummary:",
        ),
        Template(
            "chat",
            "Summarize the following text in one sentence of at most {max_words} words.\n\n{document}",
            join="",
            chat=True,
        ),
    )
}


CONVERSATION = Template("conversation", "{document}", join="", chat=True)
TURNS = Template("turns", "<|prompter|>{document}<|assistant|>", join="\n")
"""For models that learn these two tokens: `lora.added_tokens`."""
OTHERS = {template.name: template for template in (CONVERSATION, TURNS)}


def find_template(name: str) -> Template:
    """A built-in template by name, or a user's from a YAML file. Raises ConfigError naming what there is."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in OTHERS:
        return OTHERS[name]
    if name.endswith((".yaml", ".yml")):
        return read_template(Path(name))
    raise ConfigError(
        f"template {name!r} is unknown{did_you_mean(name, BUILT_IN)}\n"
        f"choose from {', '.join((*BUILT_IN, *OTHERS))}, or give a .yaml file"
    )


def read_template(path: Path) -> Template:
    """A template from YAML with the keys of `Template`. Raises ConfigError naming file and key."""
    from common.config import load_yaml

    values = load_yaml(path)
    allowed = {"name": str, "text": str, "join": str, "chat": bool, "system": str}
    for key, value in values.items():
        if key not in allowed:
            raise ConfigError(f"{path}: {key} is not a template key; allowed are {', '.join(allowed)}")
        if not isinstance(value, allowed[key]):
            raise ConfigError(f"{path}: {key} must be {allowed[key].__name__}, not {value!r}")
    if "text" not in values:
        raise ConfigError(f"{path}: the key text is missing; it holds the prompt with one {{document}} field")
    template = Template(**{"name": path.stem, **values})
    if template.text.count("{document}") != 1:
        count = template.text.count("{document}")
        raise ConfigError(f"{path}: text must hold {{document}} exactly once, found {count} times")
    if template.join.strip():
        raise ConfigError(f"{path}: join must be white space only, not {template.join!r}")
    return template


def write_template(template: Template, path: Path) -> None:
    """Write a template, atomically, as YAML that `read_template` reads back to an equal one."""
    import yaml

    write_text(path, yaml.safe_dump(asdict(template), sort_keys=False, allow_unicode=True))


def automatic_template(tokenizer: TextTokenizer, model_name: str, conversations: bool = False) -> str:
    """`chat` for instruct models, `direct` for base models; conversations go through any chat template there is."""
    if conversations and tokenizer.has_chat_template:
        return CONVERSATION.name
    return "chat" if tokenizer.is_instruct(model_name) else "direct"


@dataclass(frozen=True)
class Prompt:
    """Token ids of a filled-in prompt and how many tokens the document lost to fit."""

    tokens: tuple[int, ...]
    cut_tokens: int


class PromptFormat:
    """A template bound to a tokenizer and to lengths in tokens.

    eos_id    the token that ends a summary, trained and stopped at
    eos_ids   every token at which generation stops
    overhead  template tokens of a prompt, the document not counted
    markup    template text before and after the document, for programs that format the prompt themselves
    chat      how conversations are formatted, by the model's chat template alone; None where the template uses none
    """

    def __init__(
        self,
        template: Template,
        tokenizer: TextTokenizer,
        max_length: int = 1024,
        max_document_tokens: int = 0,
        max_summary_tokens: int = 0,
        max_words: int = 30,
        truncation: Literal["tail", "middle"] = "tail",
        model_name: str = "",
        context_tokens: int = 0,
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.chat = ChatFormat(tokenizer) if template.chat else None
        self.max_length = max_length
        self.max_document_tokens = max_document_tokens
        self.max_summary_tokens = max_summary_tokens or max_length // 2
        self.max_words = max_words
        self.truncation = truncation
        self.model_name = model_name
        self.context_tokens = context_tokens
        self.markup = before, after = _fill(template, tokenizer, max_words)
        bos = [] if template.chat else list(tokenizer.bos_ids)
        self._before = (*bos, *tokenizer.encode_markup(before))
        self._after = tuple(tokenizer.encode_markup(after))
        turn_end = tokenizer.turn_end_id()
        ends_turn = template.chat or tokenizer.is_instruct(model_name)
        self.eos_id = turn_end if template.chat and turn_end is not None else tokenizer.eos_id
        also = {turn_end} if ends_turn and turn_end is not None else set()
        self.eos_ids = tuple(sorted({self.eos_id, tokenizer.eos_id} | also))
        if self.overhead + 16 > max_length:
            raise ConfigError(
                f"--max-length {max_length} leaves no room: template {template.name} alone takes {self.overhead} "
                f"tokens; use at least {self.overhead + 64}"
            )

    @property
    def overhead(self) -> int:
        return len(self._before) + len(self._after)

    def identity(self) -> dict[str, Any]:
        """Everything that decides how a document is encoded, as plain values: equal for equal encodings."""
        return {
            "before": self._before,
            "after": self._after,
            "template": asdict(self.template),
            "eos_id": self.eos_id,
            "max_length": self.max_length,
            "max_document_tokens": self.max_document_tokens,
            "max_summary_tokens": self.max_summary_tokens,
            "truncation": self.truncation,
            "tokenizer": self.tokenizer.fingerprint,
        }

    def with_max_words(self, max_words: int) -> PromptFormat:
        """The prompt that asks for another number of words; the same one where the template names no number."""
        if max_words == self.max_words or "{max_words}" not in self.template.text:
            return self
        return PromptFormat(
            self.template,
            self.tokenizer,
            self.max_length,
            self.max_document_tokens,
            self.max_summary_tokens,
            max_words,
            self.truncation,
            self.model_name,
        )

    def document_room(self, reserved: int) -> int:
        """Document tokens that fit beside the template and `reserved` tokens of summary."""
        room = self.max_length - self.overhead - reserved
        return max(0, min(room, self.max_document_tokens) if self.max_document_tokens else room)

    def reserved(self, max_new_tokens: int) -> int:
        """Tokens that a prompt for generation leaves free for its summary."""
        return min(self.max_summary_tokens, max_new_tokens, self.max_length // 2)

    def most_new_tokens(self, wanted: int) -> int:
        """`wanted` new tokens, or as many as the model's context holds behind the longest prompt."""
        room = self.context_tokens - self.max_length + self.reserved(wanted)
        return min(wanted, room) if self.context_tokens else wanted

    def prompt_from_ids(self, document_ids: Sequence[int], reserved: int) -> Prompt:
        """Fill the template with an encoded document, cut to leave `reserved` tokens for the summary."""
        room = self.document_room(reserved)
        kept = cut(document_ids, room, self.truncation)
        return Prompt((*self._before, *kept, *self._after), len(document_ids) - len(kept))

    def prompts(self, documents: Sequence[str], max_new_tokens: int) -> list[Prompt]:
        """Prompts for generation, each leaving room for the longest summary that may follow."""
        reserved = self.reserved(max_new_tokens)
        encoded = self.tokenizer.encode_texts([document.strip() for document in documents])
        return [self.prompt_from_ids(ids, reserved) for ids in encoded]

    def example_prompts(self, examples: Sequence[Example], max_new_tokens: int) -> list[Prompt]:
        """`prompts` for examples: of conversations, all before the last turn, as in training."""
        whole = [example for example in examples if not (example.messages and self.chat)]
        texts = iter(self.prompts([example.document for example in whole], max_new_tokens))
        room = self.max_length - self.reserved(max_new_tokens)
        found = []
        for example in examples:
            if example.messages and self.chat:
                found.append(Prompt(*self.chat.fit_prompt(example.messages, room)))
            else:
                found.append(next(texts))
        return found

    def summary_ids(self, summaries: Sequence[str]) -> list[list[int]]:
        """Token ids of summaries with the joining white space before and EOS after."""
        texts = [self.template.join + summary.strip() for summary in summaries]
        return [[*ids, self.eos_id] for ids in self.tokenizer.encode_texts(texts)]


def cut(ids: Sequence[int], room: int, truncation: Literal["tail", "middle"]) -> Sequence[int]:
    """At most `room` ids: the beginning (`tail` is cut), or beginning and end (`middle` is cut)."""
    if len(ids) <= room:
        return ids
    if truncation == "tail" or room < 2:
        return ids[:room]
    head = (room + 1) // 2
    return [*ids[:head], *ids[len(ids) - (room - head) :]]


def _fill(template: Template, tokenizer: TextTokenizer, max_words: int) -> tuple[str, str]:
    values = {"document": _PLACEHOLDER, "max_words": str(max_words)}
    text = FIELD.sub(lambda match: values[match.group(1)], template.text)
    if template.chat:
        messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
        if template.system:
            messages.insert(0, {"role": "system", "content": template.system})
        text = tokenizer.render_chat(messages, add_generation_prompt=True)
    before, _, after = text.partition(_PLACEHOLDER)
    return before, after
