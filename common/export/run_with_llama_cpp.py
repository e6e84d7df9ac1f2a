"""Answers of a GGUF file: logits from llama.cpp's library, summaries from llama.cpp's server inside xllamacpp."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.data.prompts import PromptFormat
from common.errors import EngineError, ModelError
from common.export.answers import Answers, Sample, Summary
from common.export.llama_cpp import GgufModel
from common.export.prompt_text import PromptText

CONTEXT_ROUNDING = 256  # llama.cpp rounds a context up to whole multiples of this
CHAT_DOCUMENTS = 2  # summaries made a second time, through the chat template in the file
MOST_DOCUMENTS = 0.9  # share of documents that must be cut into the same tokens (llama.cpp does not normalise Unicode)


def gguf_answers(path: Path, sample: Sample, prompt: PromptText, form: PromptFormat) -> Answers:
    """Logits and greedy summaries, and whether text given as text becomes the run's tokens.

    Raises EngineError for a missing package, ModelError when llama.cpp refuses the file.
    """
    context = -(-(sample.longest + 1) // CONTEXT_ROUNDING) * CONTEXT_ROUNDING
    with GgufModel(path, context) as model:
        logits = tuple(
            model.logits(sequence, rows) for sequence, rows in zip(sample.sequences, sample.rows, strict=True)
        )
        same_documents, same_prompts = _compare_text(model, sample, prompt, form)
    server = GgufServer(path, context)
    summaries = tuple(server.complete(tokens, sample.max_new_tokens) for tokens in sample.prompts)
    through_template = same_prompts[:CHAT_DOCUMENTS]
    chats = [server.chat(sample.examples[index].document, sample.max_new_tokens) for index in through_template]
    differing = sum(chat != summaries[index] for chat, index in zip(chats, through_template, strict=True))
    total = len(sample.examples)
    problems = []
    if same_documents < MOST_DOCUMENTS * total:
        problems.append(f"llama.cpp cuts only {same_documents} of {total} documents into the tokens the run saw")
    if differing:
        problems.append(f"through the file's own chat template {differing} of {len(chats)} summaries are others")
    remark = (
        f"text into tokens as in training: {same_documents} of {total} documents, {len(same_prompts)} of {total} whole "
        f"prompts; summaries through the file's chat template: {len(chats) - differing} of {len(chats)} the same"
    )
    return Answers(f"llama.cpp in xllamacpp {server.version}", "float16", logits, summaries, tuple(problems), (remark,))


def _compare_text(model: GgufModel, sample: Sample, prompt: PromptText, form: PromptFormat) -> tuple[int, list[int]]:
    """How many documents llama.cpp cuts into the run's tokens, and which whole prompts.

    A prompt given as text is cut as one piece, where training put it together from pieces: a few tokens at the
    borders of the document may differ. One that was cut to fit is not compared.
    """
    bos = len(form.tokenizer.bos_ids) if model.adds_bos else 0
    same_documents, same_prompts = 0, []
    for index, (example, tokens) in enumerate(zip(sample.examples, sample.prompts, strict=True)):
        text = example.document.strip()
        ids = form.tokenizer.encode_text(text)
        same_documents += model.tokenize(text, markup=False)[bos:] == ids
        if len(tokens) == form.overhead + len(ids) and model.tokenize(prompt.filled(text)) == list(tokens):
            same_prompts.append(index)
    return same_documents, same_prompts


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

    def chat(self, document: str, max_new_tokens: int) -> Summary:
        """Greedy answer to a document given as the user's message, through the file's own chat template."""
        request = {"messages": [{"role": "user", "content": document}], **self._greedy(max_new_tokens)}
        choice = _first_choice(self._server.handle_chat_completions(request))
        return _summary(choice, (choice.get("message") or {}).get("content"))

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
