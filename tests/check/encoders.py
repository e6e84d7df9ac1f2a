"""Tiny classifiers with random weights, one of each kind that checkers come as, with tokenizers made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.metrics.tiny_encoder import build_tiny_encoder
from tests.tiny_models import TRAINING_TEXT, build_tiny_tokenizer

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TOKENS = {0: "supported", 1: "hallucinated"}
UNNAMED = {0: "LABEL_0", 1: "LABEL_1"}
PAIR_KINDS = ("bert", "roberta", "deberta-v2", "modernbert")
TOKEN_KINDS = ("bert", "modernbert")
LONGEST = 256  # tokens that each reads
TEXTS = (
    *TRAINING_TEXT,
    "Choose your answer : based on the paragraph above can we conclude that OPTIONS Yes No I think is text passage 1",
)


def build_classifier(
    folder: Path, kind: str, labels: dict[int, str], of_tokens: bool = False, longest: int = LONGEST, **changes: Any
) -> str:
    """Write a two-layer float32 model of `kind` with its tokenizer to `folder`, which is returned as a string."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    folder.mkdir(parents=True, exist_ok=True)
    size, pad = _tokenizer(folder, kind, longest)
    settings: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": longest + (pad + 1 if kind == "roberta" else 0),
        "type_vocab_size": 1 if kind == "roberta" else 2,
        "pad_token_id": pad,
        "initializer_range": 0.4,
        "id2label": labels,
        "label2id": {name: index for index, name in labels.items()},
    }
    if kind == "deberta-v2":
        settings |= {
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 32,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        }
    if kind == "modernbert":
        settings |= {"local_attention": 16, "global_attn_every_n_layers": 2, "initializer_cutoff_factor": 2.0}
        settings |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), pad)
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **settings | changes)
    auto = AutoModelForTokenClassification if of_tokens else AutoModelForSequenceClassification
    auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return str(folder)


def _tokenizer(folder: Path, kind: str, longest: int) -> tuple[int, int]:
    """Word pieces with token types for BERT and DeBERTa, bytes for the others; size and padding id."""
    from tokenizers import processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if kind in ("bert", "deberta-v2"):
        build_tiny_encoder(folder, TEXTS)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    else:
        build_tiny_tokenizer(folder, pad_is_eos=False)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            pad_token=tokenizer.pad_token,
            eos_token=tokenizer.eos_token,
            cls_token=tokenizer.eos_token,
            sep_token=tokenizer.eos_token,
            model_input_names=["input_ids", "attention_mask"],
        )
    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    between = f"{sep} {sep}" if kind == "roberta" else sep
    second = 0 if kind in ("roberta", "modernbert") else 1
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {between} $B:{second} {sep}:{second}",
        special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)],
    )
    tokenizer.model_max_length = longest
    for old in folder.glob("*.safetensors"):
        old.unlink()
    tokenizer.save_pretrained(folder)
    return len(tokenizer), tokenizer.pad_token_id
