"""Examples with a concise answer, mixed in at a wanted share. Knows nothing of where examples come from."""

from __future__ import annotations

from collections.abc import Sequence

from common.files import sha256_text
from common.metrics.tokens import has_words
from common.progress import note
from common.settings import DataSettings
from common.types import Example


def mixed_examples(examples: Sequence[Example], settings: DataSettings, seed: int) -> list[Example]:
    """The examples under `concise_share` and `concise_words`, and a line that says what that left."""
    mixed = mix_concise(examples, settings.concise_share, settings.concise_words, seed)
    if settings.concise_share:
        note(
            f"data: {len(mixed)} of {len(examples)} training examples are used, "
            f"{100 * settings.concise_share:.0f} % of them with a summary of at most {settings.concise_words} words"
        )
    return mixed


def mix_concise(examples: Sequence[Example], share: float, most_words: int, seed: int) -> list[Example]:
    """The largest subset, in order, whose share of summaries of at most `most_words` words is `share` (to rounding).

    Nothing is repeated: of the kind there is too much of, examples are left out, the same ones for the same seed.
    `share` 0 keeps all examples as they are.
    """
    if not share:
        return list(examples)
    concise = {i for i, example in enumerate(examples) if not has_words(example.summary, most_words + 1)}
    others = len(examples) - len(concise)
    if share >= 1:
        keep_concise, keep_others = len(concise), 0
    else:
        total = int(min(len(concise) / share, others / (1 - share)) + 1e-9)
        keep_concise = min(len(concise), round(total * share))
        keep_others = min(others, total - keep_concise)
    ranked = sorted(range(len(examples)), key=lambda i: sha256_text(f"mix:{seed}:{examples[i].id}"))
    kept = [i for i in ranked if i in concise][:keep_concise] + [i for i in ranked if i not in concise][:keep_others]
    return [examples[i] for i in sorted(kept)]
