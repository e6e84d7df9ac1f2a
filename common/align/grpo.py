"""Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300) as weights on negative log-likelihoods.

A step samples a group of summaries of each of its documents, scores them, and takes one step on them while they are
still the model's own. So the probability ratio is 1, nothing is clipped, and with the advantage A = (r - mean) /
(standard deviation + 1e-4) of a summary in its group the gradient is that of the sum over all sampled tokens of
w * nll, w = (A - kl_weight * log(p/p_ref)) / tokens: policy gradient and that of the divergence of the reference from
the policy, unbiased (DeepSeek-AI 2025, arXiv 2512.02556), divided by the step's number of tokens (as DAPO does: Yu et
al. 2025, arXiv 2503.14476). Sampling is at temperature 1 from the whole distribution, as the
gradient asks. Exact with dropout 0. Knows nothing of where documents come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.align.sampling import Samples, greedy, sample_summaries
from common.align.scoring import Reward
from common.data.batching import build_step, sequence_rows
from common.data.encode import join
from common.data.prompts import PromptFormat
from common.engine import Engine, GenerationSpec
from common.errors import NonFiniteError
from common.metrics.tokens import count_words
from common.types import Batch, EncodedExample, Example

SPREAD_FLOOR = 1e-4  # added to a group's standard deviation, as TRL does
Weights = Mapping[str, NDArray[Any]]


def encode_references(examples: Sequence[Example], form: PromptFormat, max_new_tokens: int) -> list[EncodedExample]:
    """What the loop plans steps by: each example's prompt, as at inference, with its reference summary."""
    prompts = form.example_prompts(examples, max_new_tokens)
    summaries = form.summary_ids([example.summary for example in examples])
    rows = zip(examples, prompts, summaries, strict=True)
    return [join(example.id, prompt.tokens, summary) for example, prompt, summary in rows]


def group_rewards(samples: Samples) -> NDArray[np.float64]:
    """The samples' scores, shape (samples,); what is empty or never ended gets no more than the worst that did."""
    rewards = samples.scores.copy()
    for place in range(len(samples.prompts)):
        mine = samples.of(place)
        proper = [rewards[index] for index in mine if samples.proper(index)]
        for index in mine:
            if proper and not samples.proper(index):
                rewards[index] = min(rewards[index], *proper)
    return rewards


def advantages(rewards: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """How much better each is than its group of `count`, in standard deviations (of a sample: divisor count - 1)."""
    groups = rewards.reshape(-1, count)
    spread = groups.std(1, ddof=1, keepdims=True) + SPREAD_FLOOR
    relative: NDArray[np.float64] = ((groups - groups.mean(1, keepdims=True)) / spread).reshape(-1)
    return relative


def sampled_sequences(samples: Samples, ids: Sequence[str]) -> list[EncodedExample]:
    """Each sample with its prompt, as sampled to the token, under the id `INDEX ID`; none for an empty one that failed.

    One that ran into its length limit has no EOS to learn.
    """
    found = []
    for index, generation in enumerate(samples.generations):
        ending = () if generation.stop_token is None else (generation.stop_token,)
        if generation.stop_reason == "error" or not (*generation.tokens, *ending):
            continue
        place = index // samples.count
        found.append(join(f"{index} {ids[place]}", samples.prompts[place], [*generation.tokens, *ending]))
    return found


@dataclass(frozen=True)
class GroupRelative:
    """The GRPO objective. `loss` in its rows is the negative mean reward.

    examples   training examples by the id under which `encode_references` encoded them
    spec       how summaries are generated (its temperature and top_p are not used)
    reference  weights of the adapter that is the reference; None is the untuned model
    dev        examples whose greedy summaries' mean reward is the negative of `dev_loss`
    """

    examples: Mapping[str, Example]
    form: PromptFormat
    spec: GenerationSpec
    count: int
    reward: Reward
    kl_weight: float
    reference: Weights | None
    dev: Sequence[Example]
    micro_batch_tokens: int
    pad_id: int

    def sequences(self, items: Sequence[EncodedExample]) -> Sequence[EncodedExample]:
        return items

    def weigh(self, engine: Engine, batches: list[Batch], step: int) -> tuple[list[Batch], dict[str, float]]:
        ids = [name for batch in batches for name in batch.ids]
        seed = int(np.random.SeedSequence([self.spec.seed, step]).generate_state(1)[0])
        spec = dataclasses.replace(self.spec, beams=1, temperature=1.0, top_p=1.0, seed=seed)
        examples = [self.examples[name] for name in ids]
        samples = sample_summaries(engine, self.form, examples, spec, self.count, self.reward)
        rewards = group_rewards(samples)
        relative = advantages(rewards, self.count)
        if not np.isfinite(relative).all():
            raise NonFiniteError("a reward is not a finite number")
        sequences = sampled_sequences(samples, ids)
        batches = build_step(sequences, self.micro_batch_tokens, self.pad_id) if sequences else []
        sampled_tokens = sum(batch.target_tokens for batch in batches)  # before equal rewards take weights to 0
        batches, divergence = self.weighted(engine, batches, relative)
        sums = {
            "reward_sum": float(rewards.sum()),
            "words_sum": float(sum(count_words(text) for text in samples.texts)),
            "ended": float(sum(samples.proper(index) for index in range(len(rewards)))),
            "samples": float(len(rewards)),
            "divergence_sum": divergence,
            "sampled_tokens": float(sampled_tokens),
            "tokens": float(sum(len(item) for item in sequences)),
        }
        return batches, sums

    def weighted(
        self, engine: Engine, batches: list[Batch], relative: NDArray[np.float64]
    ) -> tuple[list[Batch], float]:
        """Micro-batches of sampled sequences with the weights w, and the sum of divergences over their tokens (nats).

        `relative` holds the advantages by the number that begins a sequence's id.
        """
        tokens = sum(batch.target_tokens for batch in batches)
        pulls, divergence = self._pulls(engine, batches)
        found = []
        for batch, pull in zip(batches, pulls, strict=True):
            numbers = np.array([int(name.split(" ", 1)[0]) for name in batch.ids])
            weights = (relative[numbers][sequence_rows(batch)] - pull) / tokens
            weights = np.where(batch.weights != 0, weights, 0.0).astype(np.float32)
            found.append(dataclasses.replace(batch, weights=weights))
        return found, divergence

    def _pulls(self, engine: Engine, batches: list[Batch]) -> tuple[list[NDArray[np.float64] | float], float]:
        """kl_weight * log(p/p_ref) of each target row by micro-batch, and the sum of divergences.

        A token's divergence is estimated by p_ref/p - log(p_ref/p) - 1 (Schulman 2020), which is never negative.
        """
        if not self.kl_weight:
            return [0.0] * len(batches), 0.0
        pulls: list[NDArray[np.float64] | float] = []
        divergence = 0.0
        policy = engine.token_losses(batches)
        for batch, own, reference in zip(batches, policy, self._reference_losses(engine, batches), strict=True):
            gain = np.where(batch.weights != 0, reference - own.astype(np.float64), 0.0)  # log p - log p_ref
            divergence += float((np.exp(-gain) + gain - 1.0).sum())
            pulls.append(self.kl_weight * gain)
        if not np.isfinite(divergence):
            raise NonFiniteError(f"the divergence from the reference is {divergence}")
        return pulls, divergence

    def _reference_losses(self, engine: Engine, batches: list[Batch]) -> list[NDArray[Any]]:
        if self.reference is None:
            engine.enable_adapter(False)
            try:
                return engine.token_losses(batches)
            finally:
                engine.enable_adapter(True)
        own = engine.adapter()
        engine.load_adapter(self.reference)
        try:
            return engine.token_losses(batches)
        finally:
            engine.load_adapter(own)

    def evaluate(self, engine: Engine) -> dict[str, float]:
        if not self.dev:
            return {}
        samples = sample_summaries(engine, self.form, self.dev, greedy(self.spec), 1, self.reward)
        words = float(np.mean([count_words(text) for text in samples.texts]))
        reward = float(samples.scores.mean())
        return {"dev_loss": -reward, "dev_reward": reward, "dev_words": words}

    def row(self, sums: Mapping[str, float]) -> dict[str, Any]:
        samples = max(1.0, sums["samples"])
        reward = sums["reward_sum"] / samples
        return {
            "loss": -reward,
            "reward": reward,
            "words": sums["words_sum"] / samples,
            "ended": sums["ended"] / samples,
            "divergence": sums["divergence_sum"] / max(1.0, sums["sampled_tokens"]),
            "samples": int(sums["samples"]),
        }
