"""llama.cpp through the package cyllama: quantize a GGUF file, cut text into its tokens, and read its logits.

Runs on the CPU, so that a check gives the same figures everywhere. Knows nothing of how the files were made.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from common.errors import EngineError, ModelError

FILE_TYPES = {"q8_0": 7, "q4_k_m": 15}  # enum llama_ftype
K_BLOCK = 256  # values in a K-quant super-block: rows must be whole multiples of it
KV_TYPE_F32 = 0  # enum ggml_type: keys and values are kept as computed, where the default rounds them to float16


def library() -> Any:
    """The binding's low-level module. Raises EngineError with the remedy when it is not installed."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # or it starts a debugger on itself when it aborts
    try:
        from cyllama.llama import llama_cpp
    except (ImportError, OSError) as error:
        raise EngineError(
            f"llama.cpp's library is not installed ({error}); install it with: pip install 'sumkit[export]'"
        ) from None
    return llama_cpp


@contextmanager
def _quiet(lib: Any) -> Iterator[deque[str]]:
    """Keep llama.cpp's log out of the terminal; the last lines are given for an error message.

    Afterwards logging is off: a Python callback must not be left behind for the time when the process ends.
    """
    lines: deque[str] = deque(maxlen=40)
    lib.set_log_callback(lambda level, text: lines.append(text))
    try:
        yield lines
    finally:
        lib.disable_logging()


def _last_words(lines: deque[str]) -> str:
    return " ".join("".join(lines).split())[-300:]


def quantize(source: Path, target: Path, kind: str) -> None:
    """Quantize a 16-bit GGUF file with llama.cpp's own quantizer. Raises ModelError when it refuses."""
    lib = library()
    params = lib.LlamaModelQuantizeParams()
    params.nthread = os.cpu_count() or 1
    params.ftype = FILE_TYPES[kind]
    with _quiet(lib) as lines:
        try:
            lib.model_quantize(str(source), str(target), params)
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(
                f"llama.cpp could not quantize {source.name} to {kind} ({error}): {_last_words(lines)}"
            ) from None


def tensor_types(path: Path) -> dict[str, list[tuple[str, int]]]:
    """Matrices of a GGUF file by storage type: (name, row width) of each."""
    import gguf

    found: dict[str, list[tuple[str, int]]] = {}
    for tensor in gguf.GGUFReader(str(path)).tensors:
        if len(tensor.shape) > 1:
            found.setdefault(tensor.tensor_type.name.lower(), []).append((tensor.name, int(tensor.shape[0])))
    return found


def describe_types(path: Path, kind: str) -> list[str]:
    """Sentences on how the matrices are stored, and on those that K-quants cannot cut."""
    types = tensor_types(path)
    count = sum(len(names) for names in types.values())
    parts = ", ".join(f"{len(names)} {name}" for name, names in sorted(types.items(), key=lambda item: -len(item[1])))
    said = [f"{count} matrices: {parts}"]
    uncut = Counter(width for names in types.values() for _, width in names if width % K_BLOCK)
    if kind == "q4_k_m" and uncut:
        widths = ", ".join(str(width) for width in sorted(uncut))
        instead = sorted({name for name, names in types.items() if any(width % K_BLOCK for _, width in names)})
        said.append(
            f"{sum(uncut.values())} matrices have rows of {widths} values, not a multiple of {K_BLOCK}, which K-quants "
            f"cannot cut; llama.cpp stores them as {', '.join(instead)} instead, and the file is larger for it"
        )
    return said


class GgufModel:
    """A GGUF file loaded on the CPU, with room for `context_tokens`. Use as a context manager."""

    def __init__(self, path: Path, context_tokens: int = 256) -> None:
        lib = library()
        params = lib.LlamaModelParams()
        params.n_gpu_layers = 0
        self._lib = lib
        self._context: Any = None
        with _quiet(lib) as lines:
            try:
                self._model = _model_class(lib)(str(path), params)
                self._vocabulary = self._model.get_vocab()
                self._context = self._make_context(context_tokens)
            except (RuntimeError, ValueError, OSError) as error:
                raise ModelError(f"llama.cpp cannot load {path} ({error}): {_last_words(lines)}") from None
        self.adds_bos = bool(self._vocabulary.get_add_bos())

    def _make_context(self, tokens: int) -> Any:
        params = self._lib.LlamaContextParams()
        params.n_ctx = params.n_batch = params.n_ubatch = tokens
        params.type_k = params.type_v = KV_TYPE_F32
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        return self._lib.LlamaContext(self._model, params)

    def tokenize(self, text: str, markup: bool = True) -> list[int]:
        """Token ids of `text` with the beginning-of-text token where the file asks for it.

        With `markup` spelled-out control tokens count as such.
        """
        return [int(token) for token in self._vocabulary.tokenize(text, True, markup)]

    def logits(self, tokens: Sequence[int], rows: int) -> np.ndarray:
        """(T,) token ids -> (rows, V) float32 of the last `rows` positions, from an empty context of at least T."""
        batch = self._lib.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1)
        try:
            for position, token in enumerate(tokens):
                batch.add(int(token), position, [0], position >= len(tokens) - rows)
            self._context.kv_cache_clear()
            status = self._context.decode(batch)
            if status != 0:
                raise ModelError(f"llama.cpp could not run {len(tokens)} tokens (status {status})")
            wanted = range(max(0, len(tokens) - rows), len(tokens))
            return np.array([self._context.get_logits_ith(position) for position in wanted], np.float32)
        finally:
            batch.close()

    def close(self) -> None:
        """Free the memory. Safe to call twice."""
        if self._context is not None:
            self._context.close()
            self._context = None
        self._model.close()

    def __enter__(self) -> GgufModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _model_class(lib: Any) -> Any:
    """The binding's model class; cyllama 0.2 reads an attribute of it for logits that it forgot to define."""
    if hasattr(lib.LlamaModel, "n_vocab"):
        return lib.LlamaModel
    return type("Model", (lib.LlamaModel,), {"n_vocab": property(lambda model: model.get_vocab().n_vocab)})
