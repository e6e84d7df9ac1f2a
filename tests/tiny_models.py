"""Tiny real models and tokenizers built on the spot: transformers configs, random weights, no network.

Weights are drawn large enough that attention, every layer and every bias move the logits, and the rotary settings
are never the defaults, so that an engine that ignores one of them is found out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

ARCHITECTURES = ("qwen2", "llama", "phi", "qwen3", "mistral", "gemma")
VOCAB_SIZE = 384
ROPE_THETA = 50000.0
PHI_ROTARY_FACTOR = 0.4
SIZES: dict[str, int] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
SEPARATE_HEAD_DIM = ("qwen3", "mistral", "gemma")  # heads * head_dim is not the hidden size there
TIED = ("qwen2", "qwen3", "gemma")

END_OF_TEXT = "<|endoftext|>"
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRAINING_TEXT = (
    "The council voted on Monday to close the old bridge for repairs until the end of spring.",
    "Engineers said that the work would cost four million and that traffic would be led over the ring road.",
    "Article: A storm took the power from nine hundred homes. Summary: Nine hundred homes lost power in a storm.",
    "She wrote to the team that the release is late, because two tests fail and nobody knows why.",
)


def build_tiny_model(directory: Path, architecture: str, seed: int = 0, vocab_size: int = VOCAB_SIZE) -> Path:
    """Write a 2-layer float32 model of `architecture` (one of ARCHITECTURES) to `directory`, which is returned.

    All linear layers have 64 or 128 inputs, so that 4-bit groups of 64 fit. Generation settings are left neutral:
    no end-of-text id is set, because a tokenizer is not part of the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(_config(architecture, vocab_size), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    norm_centre = 0.0 if architecture == "gemma" else 1.0  # gemma's norms multiply by 1 + weight
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                is_norm = "norm" in name and name.endswith("weight")
                parameter.normal_(norm_centre if is_norm else 0.0, 0.2, generator=generator)
            elif "embed_tokens" in name:
                parameter.normal_(0.0, 0.35, generator=generator)
            else:
                gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.0
                parameter.normal_(0.0, gain / math.sqrt(parameter.shape[1]), generator=generator)
    model.save_pretrained(directory, safe_serialization=True)
    return directory


def _config(architecture: str, vocab_size: int) -> Any:
    from transformers import AutoConfig

    settings: dict[str, Any] = {
        **SIZES,
        "vocab_size": vocab_size,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": architecture in TIED,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if architecture in SEPARATE_HEAD_DIM:
        settings["head_dim"] = 32
    if architecture == "phi":
        settings |= {"partial_rotary_factor": PHI_ROTARY_FACTOR, "resid_pdrop": 0.1, "embd_pdrop": 0.0}
    return AutoConfig.for_model(architecture, **settings)


def build_tiny_tokenizer(
    directory: Path, chat: bool = False, pad_is_eos: bool = True, words: tuple[str, ...] = ()
) -> Path:
    """Write a byte-level BPE tokenizer to `directory`, which is returned: at most VOCAB_SIZE entries, `words` too.

    `<|endoftext|>` ends a text and, unless `pad_is_eos` is False, pads too. With `chat`, `<|im_start|>` and
    `<|im_end|>` exist, a ChatML template is set, and `<|im_end|>` is the end token, as in instruct models.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    control = [END_OF_TEXT, *(CHAT_TOKENS if chat else ()), *(() if pad_is_eos else ("<|pad|>",))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=control, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*TRAINING_TEXT, *words * 50], trainer)
    end = CHAT_TOKENS[1] if chat else END_OF_TEXT
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, pad_token=END_OF_TEXT if pad_is_eos else "<|pad|>"
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
    return directory
