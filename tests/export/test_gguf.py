"""GGUF files in llama.cpp, against transformers and PEFT: weights, row order, rotary settings, text, quantization."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.engine import LoraSpec
from common.errors import ModelError
from common.export.gguf_model import GgufText, write_gguf
from common.export.gguf_tokenizer import find_splitter, read_vocabulary
from common.export.llama_cpp import GgufModel, describe_types, quantize, tensor_types
from common.export.merge import BaseQuantization, MergedWeights
from common.model.adapter import read_adapter, write_adapter
from common.model.architecture import read_shape
from common.model.gguf_import import convert_gguf
from tests.export.conftest import adapter_with_effect
from tests.tiny_models import ARCHITECTURES, TRAINING_TEXT, VOCAB_SIZE, build_tiny_model, build_tiny_tokenizer

pytest.importorskip("cyllama")
torch = pytest.importorskip("torch")

LORA = LoraSpec(rank=4, alpha=8.0)
TOKENS = np.random.default_rng(1).integers(0, 380, 60).tolist()
HALF_PRECISION = 0.006  # llama.cpp multiplies in float16 where transformers has float32 here; measured: up to 0.0023
TEXTS = (
    *TRAINING_TEXT,
    "It's 1234567 they'll say; we've 3.14 of 2,000.\n\n  Two  spaces\ttab\r\n \n",
    "naïve Ångström Straße, Ελλάδα, русский текст, العربية ١٢٣, 日本語テキスト, 한국어, हिन्दी",
    "emoji 👩🏽‍🚀🎉 ²³¼ … “quotes” — dash _under_score CamelCase x=y;{z}",
)


def export(
    model_dir: Path, target: Path, adapter: Path | None = None, chat_template: str = "{{ messages[0]['content'] }}"
) -> None:
    """Write the tiny model as GGUF, its tokenizer's own EOS as EOS."""
    from transformers import AutoTokenizer

    pretrained = AutoTokenizer.from_pretrained(model_dir)
    shape = read_shape(model_dir)
    write_gguf(
        target,
        MergedWeights(model_dir, shape, read_adapter(adapter) if adapter else None, BaseQuantization()),
        json.loads((model_dir / "config.json").read_text(encoding="utf-8")),
        read_vocabulary(pretrained.backend_tokenizer.to_str(), shape.vocab_size),
        GgufText(
            eos_id=pretrained.eos_token_id,
            eot_id=None,
            bos_id=pretrained.bos_token_id,
            pad_id=pretrained.pad_token_id,
            unk_id=pretrained.unk_token_id,
            add_bos=False,
            chat_template=chat_template,
        ),
        {"name": "tiny", "description": "for a test"},
    )


def transformers_logits(model_dir: Path, adapter: Path | None = None) -> np.ndarray:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return np.asarray(model.eval()(torch.tensor([TOKENS])).logits[0])


def gguf_logits(path: Path) -> np.ndarray:
    with GgufModel(path) as model:
        return model.logits(TOKENS, len(TOKENS))


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square difference as a share of the spread."""
    return float(np.sqrt(np.mean(np.square(first - second))) / first.std())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_llama_cpp_computes_what_transformers_and_peft_compute(tmp_path: Path, architecture: str) -> None:
    base = build_tiny_tokenizer(build_tiny_model(tmp_path / "base", architecture))
    write_adapter(tmp_path / "adapter", adapter_with_effect(base, LORA, 0.1), LORA, str(base))
    export(base, tmp_path / "tuned.gguf", tmp_path / "adapter")
    tuned = transformers_logits(base, tmp_path / "adapter")
    assert distance(tuned, transformers_logits(base)) > 0.1  # the adapter matters
    assert distance(tuned, gguf_logits(tmp_path / "tuned.gguf")) < HALF_PRECISION


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_rotary_scaling_is_carried_over(tmp_path: Path, scaling: dict[str, Any]) -> None:
    base = build_tiny_tokenizer(build_tiny_model(tmp_path / "base", "llama"))
    plain = transformers_logits(base)
    path = base / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_parameters"] = {**config["rope_parameters"], **scaling}
    path.write_text(json.dumps(config), encoding="utf-8")
    scaled = transformers_logits(base)
    assert distance(scaled, plain) > 0.05
    export(base, tmp_path / "scaled.gguf")
    assert distance(scaled, gguf_logits(tmp_path / "scaled.gguf")) < HALF_PRECISION


def test_rotary_scaling_that_gguf_cannot_carry_is_refused(tmp_path: Path) -> None:
    base = build_tiny_tokenizer(build_tiny_model(tmp_path / "base", "llama"))
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="rotary scaling 'dynamic' cannot be written to GGUF"):
        export(base, tmp_path / "no.gguf")


def test_importing_what_was_exported_gives_the_same_weights_and_tokenizer(tmp_path: Path) -> None:
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    base = build_tiny_tokenizer(build_tiny_model(tmp_path / "base", "llama"))
    path = base / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}))
    export(base, tmp_path / "whole.gguf")
    (tmp_path / "back").mkdir()
    convert_gguf(tmp_path / "whole.gguf", tmp_path / "back")
    original, back = (load_file(directory / "model.safetensors") for directory in (base, tmp_path / "back"))
    assert original.keys() == back.keys()
    for name, value in original.items():
        np.testing.assert_array_equal(value.astype(np.float16), back[name].astype(np.float16))
    ours, theirs = (AutoTokenizer.from_pretrained(directory) for directory in (base, tmp_path / "back"))
    assert [ours(text)["input_ids"] for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]


def tokenizer_with(directory: Path, steps: list[dict[str, Any]], vocab_size: int) -> Path:
    """Write a byte-level BPE tokenizer with these pre-tokenizer steps, trained on the texts of this test."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    empty = json.loads(Tokenizer(models.BPE()).to_str())
    empty["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    tokenizer = Tokenizer.from_str(json.dumps(empty))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, *TEXTS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(directory)
    return directory


def sentencepiece_like(directory: Path, vocab_size: int) -> Path:
    """Write a BPE tokenizer of the Llama 2 kind: spaces as U+2581, bytes as fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    control = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=control, limit_alphabet=120, max_token_length=12, show_progress=False
    )
    words = [word for text in TRAINING_TEXT for word in text.replace(" ", " \0").split("\0")]
    tokenizer.train_from_iterator(words * 2, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"].startswith("<0x")]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(directory)
    return directory


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def split_by(pattern: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return [split, {**BYTE_LEVEL, "use_regex": False}]


SPLITTERS = {
    "gpt-2": [BYTE_LEVEL],
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    "qwen2": split_by(QWEN2),
    "llama-bpe": split_by(LLAMA3),
}


@pytest.mark.parametrize("splitter", [*SPLITTERS, "default"])
def test_llama_cpp_cuts_text_as_the_tokenizer_does(tmp_path: Path, splitter: str) -> None:
    from transformers import AutoTokenizer

    size = 640
    base = build_tiny_model(tmp_path / "base", "llama", vocab_size=size)
    if splitter == "default":
        sentencepiece_like(base, size - 10)
    else:
        tokenizer_with(base, SPLITTERS[splitter], size - 10)
    pretrained = AutoTokenizer.from_pretrained(base)
    vocabulary = read_vocabulary(pretrained.backend_tokenizer.to_str(), size)
    assert vocabulary.splitter == splitter
    assert vocabulary.tokens[-1] == f"[PAD{size - 1}]"
    export(base, tmp_path / "m.gguf")
    control = pretrained.eos_token
    with GgufModel(tmp_path / "m.gguf") as model:
        for text in TEXTS:
            assert model.tokenize(text) == pretrained(text, add_special_tokens=False)["input_ids"], text
        assert model.tokenize(f"late{control}")[-1] == pretrained.eos_token_id
        assert pretrained.eos_token_id not in model.tokenize(f"late{control}", markup=False)


def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    other = {"model": {"type": "BPE"}, "pre_tokenizer": {"pretokenizers": split_by(r"\w+")}}
    with pytest.raises(ModelError, match=r"\(Split \+ ByteLevel\); export --to merged"):
        find_splitter(other)
    with pytest.raises(ModelError, match="tokenizers of type Unigram cannot be written"):
        read_vocabulary('{"model": {"type": "Unigram"}}', 10)
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 12}, "merges": []}, "pre_tokenizer": BYTE_LEVEL}
    with pytest.raises(ModelError, match="token id 12, the model only 10 embedding rows"):
        read_vocabulary(json.dumps(tokenizer), 10)


def test_widths_that_k_quants_cannot_cut_fall_back_and_are_named(tmp_path: Path) -> None:
    base = build_tiny_tokenizer(build_tiny_model(tmp_path / "base", "qwen2"))
    export(base, tmp_path / "f16.gguf")
    exact = gguf_logits(tmp_path / "f16.gguf")
    errors = {}
    for kind in ("q8_0", "q4_k_m"):
        quantize(tmp_path / "f16.gguf", tmp_path / f"{kind}.gguf", kind)
        errors[kind] = distance(exact, gguf_logits(tmp_path / f"{kind}.gguf"))
    assert HALF_PRECISION < errors["q8_0"] < errors["q4_k_m"] < 0.5
    assert describe_types(tmp_path / "q8_0.gguf", "q8_0") == ["15 matrices: 15 q8_0"]
    said = describe_types(tmp_path / "q4_k_m.gguf", "q4_k_m")
    assert said[0] == "15 matrices: 12 q5_0, 3 q8_0"
    assert said[1].startswith(
        "15 matrices have rows of 64, 128 values, not a multiple of 256, which K-quants cannot cut"
    )
    assert "llama.cpp stores them as q5_0, q8_0 instead" in said[1]


def test_widths_of_whole_blocks_become_k_quants(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4, vocab_size=VOCAB_SIZE
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    export(build_tiny_tokenizer(tmp_path / "base"), tmp_path / "f16.gguf")
    quantize(tmp_path / "f16.gguf", tmp_path / "q4_k_m.gguf", "q4_k_m")
    assert set(tensor_types(tmp_path / "q4_k_m.gguf")) == {"q4_k", "q6_k"}
    assert len(describe_types(tmp_path / "q4_k_m.gguf", "q4_k_m")) == 1


def test_a_damaged_file_is_an_expected_failure_in_llama_cpps_words(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load"):
        GgufModel(path)
    with pytest.raises(ModelError, match=r"could not quantize bad\.gguf to q8_0"):
        quantize(path, tmp_path / "out.gguf", "q8_0")
