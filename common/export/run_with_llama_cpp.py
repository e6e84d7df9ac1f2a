"""Answers of a GGUF file: logits from llama.cpp's library, summaries from llama.cpp's server inside xllamacpp."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.prompts import PromptFormat
from common.errors import EngineError, ModelError
from common.export.answers import Answers, Sample, Summary
from common.export.llama_cpp import GgufModel
from common.export.prompt_text import PromptText

CONTEXT_ROUNDING = 256  # llama.cpp rounds a context up to whole multiples of this
PROMPT_CHARACTERS = 160  # beginning of a document with which whole prompts are compared
CHAT_DOCUMENTS = 2  # of these, how many are summarized through the chat template in the file
MOST_DOCUMENTS = 0.9  # share of documents that must be cut into the same tokens (llama.cpp does not normalise Unicode)


@dataclass(frozen=True)
class TextCheck:
    """How llama.cpp cuts text into tokens, against the run's own way.

    documents  how many documents it cuts alike
    prompts    how many short documents with the prompt around them, given as one text
    given      those texts' documents, with the tokens llama.cpp makes of them and the prompt
    """

    documents: int
    prompts: int
    given: tuple[tuple[str, tuple[int, ...]], ...]


def gguf_answers(path: Path, sample: Sample, prompt: PromptText, form: PromptFormat) -> Answers:
    """Logits and greedy summaries, and whether text given as text becomes the run's tokens.

    Raises EngineError for a missing package, ModelError when llama.cpp refuses the file.
    """
    context = -(-(sample.longest + 1) // CONTEXT_ROUNDING) * CONTEXT_ROUNDING
    with GgufModel(path, context) as model:
        logits = tuple(
            model.logits(sequence, rows) for sequence, rows in zip(sample.sequences, sample.rows, strict=True)
        )
        text = check_text(model, sample, prompt, form)
    server = GgufServer(path, context)
    summaries = tuple(server.complete(tokens, sample.max_new_tokens) for tokens in sample.prompts)
    same = prompts_as_expected = 0
    for document, tokens in text.given[:CHAT_DOCUMENTS]:
        chat, prompt_tokens = server.chat(document, sample.max_new_tokens)
        prompts_as_expected += prompt_tokens == len(tokens)
        same += _whole(chat) == _whole(server.complete(tokens, sample.max_new_tokens))
    total, chats = len(sample.examples), min(CHAT_DOCUMENTS, len(text.given))
    problems = []
    if text.documents < MOST_DOCUMENTS * total:
        problems.append(f"llama.cpp cuts only {text.documents} of {total} documents into the tokens the run saw")
    if prompts_as_expected < chats:
        problems.append(f"the file's chat template makes another prompt for {chats - prompts_as_expected} of {chats}")
    remark = (
        f"cut into tokens as in training: {text.documents} of {total} documents, {text.prompts} of {total} prompts "
        f"given as one text; summaries through the file's chat template: {same} of {chats} the same"
    )
    method = f"llama.cpp in xllamacpp {server.version}"
    return Answers(method, "float16", logits, summaries, tuple(problems), (remark,))


def _whole(summary: Summary) -> str:
    """The text without a character that the length limit cut in its middle: chat answers leave that out."""
    return summary.text.rstrip("\ufffd")


def check_text(model: GgufModel, sample: Sample, prompt: PromptText, form: PromptFormat) -> TextCheck:
    """Compare tokens. A prompt given as one text may differ from training, which puts it together from pieces, in a
    few tokens at the borders of the document; that is counted, and harmless.
    """
    bos = len(form.tokenizer.bos_ids) if model.adds_bos else 0
    documents = prompts = 0
    given = []
    for example in sample.examples:
        text = example.document.strip()
        documents += model.tokenize(text, markup=False)[bos:] == form.tokenizer.encode_text(text)
        beginning = text[:PROMPT_CHARACTERS].strip()
        tokens = model.tokenize(prompt.filled(beginning))
        prompts += tuple(tokens) == form.prompt_from_ids(form.tokenizer.encode_text(beginning), 1).tokens
        given.append((beginning, tuple(tokens)))
    return TextCheck(documents, prompts, tuple(given))


class GgufServer:
    """llama.cpp's server in this process, on the loopback address. `context` is the tokens one request may have."""

    def __init__(self, path: Path, context: int) -> None:
        try:
            import xllamacpp
        except (ImportError, OSError) as error:
            raise EngineError(
                f"running GGUF files needs xllamacpp ({error}); install it with: pip install 'sumkit[export]'"
            ) from None
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = os.cpu_count() or 1
        params.verbosity = -1
        params.warmup = False
        params.use_jinja = True
        self.version = str(xllamacpp.__version__)
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp's server cannot load {path} ({error})") from None

    def complete(self, prompt: Sequence[int], max_new_tokens: int) -> Summary:
        """Greedy continuation of token ids."""
        request = {"prompt": [int(token) for token in prompt], **self._greedy(max_new_tokens)}
        choice = _first_choice(self._server.handle_completions(request))
        return _summary(choice, choice.get("text"))

    def chat(self, document: str, max_new_tokens: int) -> tuple[Summary, int]:
        """Greedy answer to a document given as the user's message, through the file's own chat template, and the
        tokens of the prompt that this makes.
        """
        request = {"messages": [{"role": "user", "content": document}], **self._greedy(max_new_tokens)}
        answer = self._server.handle_chat_completions(request)
        choice = _first_choice(answer)
        return _summary(choice, (choice.get("message") or {}).get("content")), int(answer["usage"]["prompt_tokens"])

    @staticmethod
    def _greedy(max_new_tokens: int) -> dict[str, Any]:
        """Without the cache of earlier prompts, which would change rounding from one request to the next."""
        return {"max_tokens": max_new_tokens, "temperature": 0.0, "cache_prompt": False}


def _first_choice(answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("error") or not answer.get("choices"):
        raise ModelError(f"llama.cpp's server answered with an error: {answer.get('error', answer)}")
    choice: dict[str, Any] = answer["choices"][0]
    return choice


def _summary(choice: dict[str, Any], text: Any) -> Summary:
    return Summary(str(text or "").strip(), "eos" if choice.get("finish_reason") == "stop" else "length")
