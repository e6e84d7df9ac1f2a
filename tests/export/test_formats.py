"""Each format written from a run, run by the program it is for, and compared with the run itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from common.engine import LoraSpec
from common.errors import AdapterError, CheckpointError, DataError, ModelError, UsageError
from common.export import catalogue, to_merged
from common.export.card import is_export
from common.export.export import CheckOptions, Exported, export_run
from common.export.merge import MergedWeights
from common.export.source import ExportOptions, ExportSource, open_source
from common.export.tensor_files import STORED_NAMES, PlannedTensor, find_tensors, write_tensors
from tests.export.conftest import MakeRun
from tests.tiny_models import VOCAB_SIZE

pytest.importorskip("torch")
CHECK = CheckOptions(documents=2)


def export(run: Path, name: str, **options: Any) -> Exported:
    made = export_run(run, name, options=ExportOptions(**options), check=CHECK)
    assert made.path == run / "export" / made.path.name
    assert (made.path / "README.md").is_file()
    assert not list(run.glob("export/.*"))
    return made


def assert_same_as_run(made: Exported) -> None:
    found = made.verification
    assert found is not None
    assert found.passed
    assert found.tolerance is not None
    assert (
        found.logits.error < found.tolerance < found.logits.effect / 5
    )  # an export without the adapter would not pass
    assert found.logits.kept == pytest.approx(1.0, abs=0.02)
    assert found.summaries.agreement == 100.0


def test_peft_adapter_in_plain_peft(make_run: MakeRun) -> None:
    made = export(make_run("qwen2", quantize="4bit", template="chat", chat=True), "peft")
    assert_same_as_run(made)
    assert made.verification is not None
    assert "plain transformers" in made.verification.export
    assert made.verification.logits.error < 1e-4  # float32 on both sides


def test_mlx_adapter_in_plain_mlx_lm(make_run: MakeRun) -> None:
    pytest.importorskip("mlx_lm")
    made = export(make_run("llama", engine="mlx"), "mlx")
    assert_same_as_run(made)
    assert made.verification is not None
    assert "plain mlx-lm" in made.verification.export
    config = json.loads((made.path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["num_layers"] == 2
    assert config["lora_parameters"] == {
        "rank": 4,
        "scale": 2.0,
        "dropout": 0.0,
        "keys": [f"mlp.{leaf}_proj" for leaf in ("down", "gate", "up")] + [f"self_attn.{x}_proj" for x in "koqv"],
    }


TOKENS = "<|prompter|>,<|assistant|>"


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "phi"])
@pytest.mark.parametrize("name", ["peft", "merged"])
def test_rows_of_added_tokens_are_in_the_export(make_run: MakeRun, architecture: str, name: str) -> None:
    spare = {"vocab_size": VOCAB_SIZE + 64} if architecture == "phi" else {}  # Phi-2 has some; the others grow
    made = export(make_run(architecture, template="turns", added_tokens=TOKENS, **spare), name, dtype="float32")
    assert_same_as_run(made)
    assert made.verification is not None
    assert made.verification.logits.error < 1e-4
    from common.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(made.path)
    assert len(tokenizer.encode_markup("<|prompter|><|assistant|>")) == 2


def test_rows_of_added_tokens_are_in_a_gguf_file(make_run: MakeRun) -> None:
    pytest.importorskip("xllamacpp")
    assert_same_as_run(export(make_run("llama", template="turns", added_tokens=TOKENS), "gguf", gguf_type="f16"))


def test_mlx_lms_adapter_layout_refuses_what_it_cannot_hold(make_run: MakeRun) -> None:
    with pytest.raises(AdapterError, match=r"DoRA's, which .* in another form; export --to merged"):
        export_run(make_run("llama", lora=LoraSpec(rank=4, dora=True)), "mlx")
    run = make_run("llama", template="turns", added_tokens=TOKENS)
    with pytest.raises(AdapterError, match=r"no place; export --to merged"):
        export_run(run, "mlx")
    assert not list(run.glob("export/*"))


def test_an_mlx_adapter_on_a_base_that_mlx_lm_misreads_is_refused(make_run: MakeRun) -> None:
    run = make_run("phi", on_hub=False)
    with pytest.raises(ModelError, match=r"has rope_theta( and partial_rotary_factor)? under rope_parameters only"):
        export_run(run, "mlx")


def test_merged_weights_answer_as_the_run_did_on_its_quantized_base(make_run: MakeRun) -> None:
    run = make_run("phi", quantize="4bit")
    made = export(run, "merged")
    assert_same_as_run(made)
    assert {tensor.dtype for tensor in find_tensors(made.path).values()} == {"F16"}
    assert made.notes == (
        "weights in float16; the base, quantized in training, is merged with the values it had in training",
    )
    source = open_source(run)
    config = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    assert (config["rope_theta"], config["partial_rotary_factor"]) == (50000.0, 0.4)
    assert config["eos_token_id"] == list(source.form.eos_ids)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made.path)
    document = "the bridge is closed"
    ids = tokenizer.apply_chat_template([{"role": "user", "content": document}], return_dict=False)
    assert tuple(ids) == source.form.prompts([document], 8)[0].tokens


def test_merging_into_the_original_values_is_measured_not_bounded(make_run: MakeRun) -> None:
    made = export(make_run("llama", quantize="4bit"), "merged", base_values="original", dtype="float32")
    found = made.verification
    assert found is not None
    assert found.tolerance is None
    assert 0.02 < found.logits.error < found.logits.effect  # what quantization changed in the base


def test_mlx_4bit_says_what_quantization_costs(make_run: MakeRun) -> None:
    pytest.importorskip("mlx_lm")
    made = export(make_run("qwen2", engine="mlx", quantize="4bit"), "mlx-4bit")
    found = made.verification
    assert found is not None
    assert found.tolerance is None
    assert found.logits.error > 0.02
    assert found.logits.kept > 0.8
    tensors = find_tensors(made.path)
    assert tensors["model.layers.0.mlp.up_proj.weight"].dtype == "U32"
    assert tensors["model.embed_tokens.weight"].dtype == "F16"


def test_gguf_answers_as_the_run_in_llama_cpp(make_run: MakeRun) -> None:
    pytest.importorskip("cyllama")
    pytest.importorskip("xllamacpp")
    made = export(make_run("qwen2", quantize="4bit", template="chat", chat=True), "gguf", gguf_type="f16")
    assert_same_as_run(made)
    assert [name for name, _ in made.files] == ["README.md", "notes-f16.gguf"]
    assert made.verification is not None
    assert made.verification.remarks == (
        "cut into tokens as in training: 2 of 2 documents, 2 of 2 prompts given as one text; summaries through the "
        "file's chat template: 2 of 2 the same",
    )


def test_a_space_runs_its_own_app_and_summarizes_as_llama_cpp_does(make_run: MakeRun) -> None:
    pytest.importorskip("cyllama")
    pytest.importorskip("xllamacpp")
    from common.export.run_with_llama_cpp import GgufServer

    run = make_run("llama")
    made = export(run, "space", gguf_type="q8_0")
    assert is_export(made.path)
    assert {name for name, _ in made.files} == {
        "README.md", "app.py", "notes-q8_0.gguf", "requirements.txt", "summarizer.json",
    }  # fmt: skip
    spec = importlib.util.spec_from_file_location("app", made.path / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    summarizer = app.Summarizer(made.path)
    form = open_source(run).form
    document = "The council voted on Monday to close <|endoftext|> the old bridge. " * 40
    prompt = form.prompts([document], 12)[0]
    assert prompt.cut_tokens > 0
    assert summarizer.prompt(document) == list(prompt.tokens)
    written = list(summarizer.summarize(document))
    assert written == sorted(written, key=len)
    assert written[-1] == GgufServer(made.path / "notes-q8_0.gguf", 512).complete(prompt.tokens, 12).text
    assert list(summarizer.summarize("  ")) == ["Paste a text first."]


def test_ollama_has_the_file_and_a_modelfile_that_names_it(make_run: MakeRun) -> None:
    pytest.importorskip("cyllama")
    made = export_run(make_run("qwen3", template="chat", chat=True), "ollama")
    assert made.verification is None
    assert [name for name, _ in made.files] == ["Modelfile", "README.md", "notes-q4_k_m.gguf"]
    modelfile = (made.path / "Modelfile").read_text(encoding="utf-8")
    assert "FROM ./notes-q4_k_m.gguf\n" in modelfile
    assert 'PARAMETER stop "<|im_end|>"\n' in modelfile
    assert "which K-quants cannot cut" in made.notes[1]


def test_an_export_that_lost_the_adapter_is_caught_and_not_kept(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("qwen2")

    def write_base_only(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
        to_merged.write(source, options, directory)
        base = MergedWeights(source.model.directory, source.model.shape, None, source.quantization)
        planned = [PlannedTensor(name, STORED_NAMES["float32"], base.shape_of(name)) for name in base.names]
        write_tensors(directory, planned, base.float32)
        return []

    monkeypatch.setitem(catalogue.FORMATS, "merged", dataclasses.replace(to_merged.FORMAT, write=write_base_only))
    with pytest.raises(ModelError, match=r"only 0% of what the adapter changes is left") as failure:
        export_run(run, "merged", check=CHECK)
    assert "more than rounding can" in str(failure.value)
    assert list((run / "export").iterdir()) == []


def test_what_cannot_be_exported_is_said_before_anything_is_written(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("qwen2")
    with pytest.raises(UsageError, match="--to onnx: there is no such format; choose from peft, mlx, merged"):
        export_run(run, "onnx")
    with pytest.raises(CheckpointError, match="is not a run directory"):
        export_run(tmp_path, "peft")
    with pytest.raises(DataError, match=r"none\.jsonl"):
        export_run(run, "peft", check=CheckOptions(2, str(tmp_path / "none.jsonl")))
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "a file").write_text("kept")
    monkeypatch.chdir(run)
    for taken in (out, out / "mine.txt", run, run.parent, run / "adapter", tmp_path / "a file", Path("."), Path("..")):
        with pytest.raises(UsageError, match="is no export of sumkit; give another"):
            export_run(run, "peft", taken, overwrite=True)
    assert before.items() <= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}.items()
    (out / "mine.txt").unlink()
    export_run(run, "peft", out)  # an empty folder is taken
    with pytest.raises(UsageError, match="is there already; add --overwrite to replace it"):
        export_run(run, "peft", out)
    monkeypatch.chdir(out)
    with pytest.raises(UsageError, match="is the folder this was started in"):
        export_run(run, "peft", out, overwrite=True)
    monkeypatch.chdir(tmp_path)
    (out / "old.txt").write_text("of an earlier export")
    made = export_run(run, "peft", out, overwrite=True)
    assert "old.txt" not in dict(made.files)
    assert not (out / "old.txt").exists()
    (run / "adapter").rename(run / "elsewhere")
    with pytest.raises(CheckpointError, match=r"has no adapter yet; finish training with"):
        export_run(run, "peft", tmp_path / "new")
    assert not (tmp_path / "new").exists()
