"""Every setting of a run: one dataclass field each, with its type, allowed range, default and help text.

The help text is also the command line's and docs/settings.md's. Groups become the dotted paths of a YAML file
(`lora.rank`); field names are unique over all groups, because they are also the flags (`--rank`). Knows nothing
of where values come from: that is `common.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
Fraction = Annotated[float, Ge(0.0), Le(1.0)]


def setting(default: Any, help: str, zero: str = "") -> Any:
    """A dataclass field with its help text. `zero` is the word that the command line shows and takes for 0."""
    metadata = {"help": help, "zero": zero}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataSettings:
    """Where examples come from and which of them are used."""

    data: str = setting(
        "", "Directory with train/dev/test files, one .jsonl/.csv/.parquet file, or a data set name (demo, xsum, …)."
    )
    document_column: str = setting("", "Column that holds the document; recognized by name when not given.")
    summary_column: str = setting("", "Column that holds the summary; recognized by name when not given.")
    limit_train: NonNegative = setting(0, "Most training examples to use, chosen by the seed.", "all")
    limit_dev: NonNegative = setting(200, "Most dev examples to use during training.", "all")
    dev_fraction: Fraction = setting(
        0.1, "Share of a single file that becomes dev, and as much again test, split by the seed."
    )
    on_bad_row: Literal["skip", "stop"] = setting("skip", "What to do with a row that cannot be used.")
    duplicates: Literal["drop", "keep"] = setting("drop", "Exact and near duplicates within train: drop or keep them.")
    leaks: Literal["drop", "keep"] = setting("drop", "Training rows that are also in dev or test: drop or keep them.")
    concise_share: Fraction = setting(
        0.0, "Share of training examples with a concise summary; others are left out to reach it.", "off"
    )
    concise_words: Positive = setting(100, "Most words of a summary that counts as concise for --concise-share.")
    min_document_words: NonNegative = setting(5, "Rows whose document has fewer words are dropped and counted.")


@dataclass(frozen=True)
class PromptSettings:
    """How a document becomes a prompt, and how long both may be."""

    template: str = setting(
        "auto", "Prompt template, by name or YAML file; auto: chat for instruct models, direct for base models."
    )
    max_length: Positive = setting(1024, "Longest prompt plus summary in tokens; the document is cut to fit.")
    max_document_tokens: NonNegative = setting(
        0, "Longest document in tokens; auto: whatever fits in --max-length.", "auto"
    )
    max_summary_tokens: NonNegative = setting(
        0,
        "Longest summary in tokens; longer ones are left out of training, never cut. Auto: half of --max-length.",
        "auto",
    )
    truncation: Literal["tail", "middle"] = setting("tail", "Which part of a document that is too long is cut.")
    max_words: Positive = setting(30, "Word limit in the templates `limit` and `chat`.")


@dataclass(frozen=True)
class ModelSettings:
    """The base model and how it is loaded."""

    model: str = setting("qwen2.5-0.5b", "Preset, Hub id, or local directory with safetensors.")
    quantize: Literal["4bit", "8bit", "none"] = setting("4bit", "Quantization of the frozen base's linear layers.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Compute type; auto: bfloat16 where it is real, float16 with gradient scaling on older GPUs."
    )
    gradient_checkpointing: bool = setting(False, "Recompute activations in the backward pass: less memory, slower.")
    compile: bool = setting(False, "Compile the training step where the engine can (slow start, faster steps).")


@dataclass(frozen=True)
class LoraSettings:
    """The adapter (Hu et al. 2021)."""

    rank: Positive = setting(16, "Rank of the adapter matrices.")
    alpha: Annotated[float, Gt(0)] = setting(32.0, "Adapter scale: alpha / rank.")
    dropout: Annotated[float, Ge(0.0), Le(0.95)] = setting(0.0, "Dropout on the adapter's input.")
    target_modules: str = setting("all-linear", "Adapted layers: all-linear, or names such as q_proj,v_proj.")
    adapter_layers: NonNegative = setting(0, "Adapt only this many of the last layers.", "all")
    rank_stabilised: bool = setting(False, "Scale by alpha / sqrt(rank) instead of alpha / rank.")
    dora: bool = setting(False, "DoRA: also train the magnitude of each row of the adapted weights.")
    added_tokens: str = setting(
        "", "Special tokens to add to the tokenizer, such as <|user|>,<|assistant|>; their rows are trained too."
    )


@dataclass(frozen=True)
class TrainingSettings:
    """The optimizer's steps."""

    epochs: Annotated[float, Gt(0)] = setting(1.0, "Passes over the training data.")
    steps: NonNegative = setting(0, "Optimizer steps; auto: as many as --epochs makes.", "auto")
    learning_rate: Annotated[float, Gt(0)] = setting(1e-3, "Peak learning rate.")
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "Learning rate after warm-up.")
    warmup_steps: NonNegative = setting(0, "Warm-up steps; auto: --warmup-fraction of all steps.", "auto")
    warmup_fraction: Fraction = setting(0.05, "Share of all steps in which the learning rate rises linearly from 0.")
    final_learning_rate_fraction: Fraction = setting(0.0, "Learning rate at the end, as a share of the peak.")
    optimizer: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = setting(
        "adamw", "Optimizer; the 8-bit ones exist on the CUDA engine only."
    )
    weight_decay: Annotated[float, Ge(0)] = setting(0.0, "Decoupled weight decay.")
    lora_plus_ratio: Annotated[float, Gt(0)] = setting(
        1.0, "LoRA+: learning rate of the B matrices as a multiple of the A matrices' (16 is usual)."
    )
    neftune_alpha: Annotated[float, Ge(0)] = setting(
        0.0, "NEFTune: size of the noise added to embeddings in training (5 is usual).", "off"
    )
    max_grad_norm: Annotated[float, Ge(0)] = setting(1.0, "Clip the global gradient norm to this.", "off")
    batch_size: Positive = setting(16, "Examples in one optimizer step, over all micro-batches and ranks.")
    batch_target_tokens: NonNegative = setting(
        0, "Target tokens in one optimizer step, in place of --batch-size.", "off"
    )
    micro_batch_tokens: Positive = setting(4096, "Tokens, padding included, in one pass through the model.")
    boundary_loss_weight: Annotated[float, Ge(0)] = setting(
        0.0, "Weight of the extra loss on a summary's first tokens (0.1 is usual).", "off"
    )
    boundary_position_weight: Annotated[float, Ge(1)] = setting(2.0, "Weight of the very first token in that loss.")
    boundary_window: Positive = setting(4, "How many first tokens that loss covers.")
    seed: NonNegative = setting(0, "Seed of data order, adapter start, dropout and sampling.")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured while training, and which adapter is kept."""

    eval_every: NonNegative = setting(0, "Steps between dev evaluations; auto: four evaluations a run.", "auto")
    eval_rouge: NonNegative = setting(
        0, "Dev documents to summarize and score at each evaluation; off: dev loss only.", "off"
    )
    keep_best_by: Literal["dev_loss", "rouge", "last"] = setting("dev_loss", "Which adapter the run keeps.")
    patience: NonNegative = setting(0, "Stop after this many evaluations without improvement.", "off")
    preview_every: NonNegative = setting(0, "Steps between preview summaries.", "off")
    preview_prompts: str = setting(
        "", "Text or JSONL file with documents to preview; the first dev documents when not given."
    )
    preview_count: Positive = setting(2, "How many documents to preview.")


@dataclass(frozen=True)
class GenerationSettings:
    """How summaries are generated in evaluation and previews."""

    max_new_tokens: Positive = setting(96, "Longest summary in tokens; the prompt is not counted.")
    beams: Positive = setting(1, "Beam width (CUDA engine); 1 is greedy.")
    generation_batch_tokens: Positive = setting(16384, "Tokens, prompts and summaries together, generated at once.")


@dataclass(frozen=True)
class OutputSettings:
    """The run directory and what is written to it."""

    run: str = setting("", "Run directory; runs/<model>-<data>-<time> when not given.")
    save_every: NonNegative = setting(0, "Steps between checkpoints; auto: at each evaluation.", "auto")
    keep_checkpoints: Positive = setting(2, "How many of the newest checkpoints to keep.")
    log_every: Positive = setting(1, "Steps between rows of metrics.jsonl.")
    tracker: Literal["none", "tensorboard", "wandb"] = setting("none", "Also log to this tracker.")
    test_limit: NonNegative = setting(200, "Most examples in the final evaluation.", "all")
    final_eval: bool = setting(True, "Evaluate the adapter against the baselines when training ends.")
    base_template: str = setting(
        "auto",
        "Prompt of the untuned model in the final evaluation: its best of all (auto), the run's own (same), or a name.",
    )
    engine: Literal["auto", "mlx", "cuda"] = setting(
        "auto", "Engine to use; auto: mlx on Apple silicon, else cuda, on a GPU or on the CPU."
    )


@dataclass(frozen=True)
class AlignSettings:
    """Training on preferences (`sumkit align`): where they come from and how strongly they pull."""

    method: Literal["dpo", "grpo"] = setting(
        "dpo", "Learn from pairs of the best and worst sample (dpo), or from all samples as training goes on (grpo)."
    )
    start: str = setting("", "Run that alignment started from; empty for a run that was not aligned.")
    ratings: str = setting("", "File of people's choices and ratings (sumkit serve writes it), in place of samples.")
    pair_documents: Positive = setting(400, "Training documents to sample summaries of.")
    pair_dev_documents: NonNegative = setting(50, "Dev documents to sample summaries of, to measure progress.")
    samples: Annotated[int, Ge(2)] = setting(4, "Summaries to sample for each document.")
    sampling_temperature: Annotated[float, Gt(0)] = setting(
        0.8, "Temperature of sampling for pairs; grpo samples at 1."
    )
    sampling_top_p: Annotated[float, Gt(0), Le(1)] = setting(
        0.95, "Share of probability to sample from for pairs; grpo samples from all."
    )
    target_words: NonNegative = setting(
        0, "Longest summary in words without a penalty; auto: the median reference.", "auto"
    )
    length_weight: Annotated[float, Ge(0)] = setting(0.15, "Penalty for a summary twice as long as --target-words.")
    support_weight: Annotated[float, Ge(0)] = setting(
        0.1, "Penalty for each number, date, name or quote that is not in the document."
    )
    pair_margin: Annotated[float, Gt(0)] = setting(
        0.05, "Least difference in score (0 to 1) between the two summaries of a pair."
    )
    beta: Annotated[float, Gt(0)] = setting(0.3, "How closely dpo keeps the model to the reference model (DPO's beta).")
    kl_weight: Annotated[float, Ge(0)] = setting(
        0.04, "How closely grpo keeps the model to the reference model.", "off"
    )
    sft_weight: Annotated[float, Ge(0)] = setting(
        0.2, "Weight of the ordinary loss on the better summaries, beside dpo's; grpo has none."
    )
    reference: Literal["start", "untuned"] = setting(
        "start", "Reference model: the run as it was, or the untuned model."
    )


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run. Defaults < file or recipe < flags; resolved by `common.config`."""

    data: DataSettings = DataSettings()
    prompt: PromptSettings = PromptSettings()
    model: ModelSettings = ModelSettings()
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    generation: GenerationSettings = GenerationSettings()
    output: OutputSettings = OutputSettings()
    align: AlignSettings = AlignSettings()
