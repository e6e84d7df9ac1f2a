"""The values that travel between the parts: frozen, numpy only.

Knows nothing of files, engines or settings. Shapes use B examples, T tokens, N target rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORED_LABEL = -100

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
StopReason = Literal["eos", "length", "error"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True)
class Example:
    """One document with its human summary; `references` holds further accepted summaries (may be empty).

    A conversation is one too: `messages` holds its turns, the last the assistant's, which is also the `summary`, and
    `document` is what came before as text.
    """

    id: str
    document: str
    summary: str
    references: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()

    @property
    def all_references(self) -> tuple[str, ...]:
        """Every accepted summary: `references` where given, else the one `summary`."""
        return self.references or (self.summary,)


@dataclass(frozen=True)
class EncodedExample:
    """Token ids and labels of one training example, both of shape (T,).

    `labels[t]` equals `tokens[t]` where the token is trained (the summary and its EOS) and `IGNORED_LABEL`
    elsewhere. The shift by one (position t predicts token t+1) is made when batches are built, not here.
    """

    id: str
    tokens: IntArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """A right-padded micro-batch with the rows on which the output head has to run.

    tokens   (B, T) int32, padded on the right with any valid id
    lengths  (B,)   int32, real tokens of each row
    rows     (N,)   int32, flat index b*T + t of the hidden state that predicts a target
    targets  (N,)   int32, the token to predict there
    weights  (N,)   float32, weight of its negative log-likelihood in the step's objective; 0 marks a row that
                    is there only to keep N to few distinct values, and such a row points at a valid index
    """

    tokens: IntArray
    lengths: IntArray
    rows: IntArray
    targets: IntArray
    weights: FloatArray
    ids: tuple[str, ...] = ()

    @property
    def target_tokens(self) -> int:
        """Number of real target rows."""
        return int(np.count_nonzero(self.weights))

    @property
    def real_tokens(self) -> int:
        """Number of tokens that are not padding."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class StepStats:
    """What one optimizer step did. Sums, never means, so that they add over micro-batches and ranks.

    loss_sum       sum of the unweighted negative log-likelihood over the target tokens, nats
    target_tokens  how many target tokens that sum is over
    grad_norm      global L2 norm of the trainable gradient before clipping (of the weighted objective)
    seconds        wall time of the step
    skipped        True where the fp16 gradient scaler skipped the update
    """

    loss_sum: float
    target_tokens: int
    grad_norm: float = 0.0
    seconds: float = 0.0
    skipped: bool = False

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.target_tokens)


@dataclass(frozen=True)
class EvalStats:
    """Sum of negative log-likelihood (nats) over `target_tokens` target tokens of held-out data."""

    loss_sum: float
    target_tokens: int

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.target_tokens)


@dataclass(frozen=True)
class Generation:
    """Generated token ids (the stop token not included), why generation stopped, and at which token if at one."""

    tokens: tuple[int, ...]
    stop_reason: StopReason
    error: str = ""
    stop_token: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Prediction:
    """A generated summary under the id of its document, with the document's SHA-256 to pair them safely."""

    id: str
    document_sha256: str
    text: str
    stop_reason: StopReason
    tokens: int = 0


@dataclass(frozen=True)
class DeviceInfo:
    """The device an engine runs on. `memory_bytes` is what the engine may use, 0 where unknown."""

    kind: str
    name: str
    memory_bytes: int = 0
    compute_dtype: str = "float32"


@dataclass(frozen=True)
class TrainState:
    """Where a run stands; together with the engine's own state, all that resuming needs.

    `step` counts finished optimizer steps and is also the data cursor (order is a pure function of data,
    seed, epoch and effective batch). `unlogged` holds the sums of the steps since the last row of metrics.jsonl.
    """

    step: int = 0
    tokens: int = 0
    target_tokens: int = 0
    best_step: int = 0
    best_value: float | None = None
    evaluations_without_gain: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0
    unlogged: dict[str, float] = field(default_factory=dict)
