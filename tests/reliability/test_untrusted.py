"""Files from elsewhere: no pickle, no downloaded code, adapters checked before reading, no link written through."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.engine import LoraSpec
from common.errors import AdapterError, CheckpointError
from common.model.adapter import CONFIG_NAME, WEIGHTS_NAME, initial_adapter, read_adapter, write_adapter
from common.model.models import resolve_model
from common.train.training import train_run

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted(path for package in ("common", "cuda_sum", "mlx_sum") for path in (ROOT / package).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
LORA = LoraSpec(rank=4, alpha=8.0)


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file with its dotted name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_of_ours_unpickles_or_executes_what_it_read():
    assert len(OURS) > 100
    for path in OURS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & UNPICKLERS, path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in UNPICKLERS, path
        for name, call in calls(path):
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert name not in ("torch.load", "eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"), path
            assert named.get("trust_remote_code", "False") == "False", path
            assert named.get("allow_pickle", "False") == "False", path
            assert named.get("shell", "False") == "False", path


def test_every_loader_of_models_says_that_code_is_not_trusted():
    loaders = [
        (path, call)
        for path in OURS
        for name, call in calls(path)
        if name.endswith(".from_pretrained") and "Auto" in name
    ]
    assert len(loaders) >= 7
    for path, call in loaders:
        assert "trust_remote_code" in {keyword.arg for keyword in call.keywords}, path


def make_adapter(directory, tiny_model, change=None, **settings):
    """A sound adapter of the tiny model, then changed."""
    weights = initial_adapter(resolve_model(str(tiny_model)).shape, LORA)
    write_adapter(directory, weights, LORA, "base")
    if change:
        change(weights)
        save_file(weights, directory / WEIGHTS_NAME)
    if settings:
        path = directory / CONFIG_NAME
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return directory


def widen(weights):
    name = next(iter(weights))
    weights[name] = np.zeros((4, 65), np.float32)


def other_rank(weights):
    name = next(iter(weights))
    weights[name] = np.zeros((5, 64), np.float32)


def integers(weights):
    name = next(iter(weights))
    weights[name] = np.zeros(weights[name].shape, np.int32)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (widen, {}, r"shape \(4, 65\), the base needs"),
        (other_rank, {}, "does not go with rank 4"),
        (integers, {}, "I32, allowed are"),
        (lambda weights: weights.pop(next(iter(weights))), {}, "1 matrices missing"),
        (lambda weights: weights.update(evil=np.zeros((4, 4), np.float32)), {}, "'evil' is not a LoRA matrix"),
        (None, {"r": 10**12}, "r is 1000000000000"),
        (None, {"r": -1}, "r is -1"),
        (None, {"r": "4"}, "r is '4'"),
        (None, {"lora_alpha": None}, "lora_alpha is None"),
        (None, {"target_modules": None}, "target_modules is None"),
        (None, {"target_modules": [{}]}, "target_modules"),
        (None, {"peft_type": "IA3"}, "only LORA"),
        (None, {"use_dora": True}, "matrices missing"),
        (None, {"lora_bias": True}, "lora_bias"),
        (None, {"layers_to_transform": 7}, "unexpected"),
        (None, {"layers_to_transform": "7"}, "layers_to_transform is '7'"),
        (None, {"layers_to_transform": [{}]}, "layers_to_transform"),
    ],
)
def test_adapters_that_do_not_fit_are_named_before_any_tensor_is_read(
    tmp_path, tiny_model, monkeypatch, change, settings, message
):
    import common.model.adapter

    directory = make_adapter(tmp_path / "adapter", tiny_model, change, **settings)
    shape = resolve_model(str(tiny_model)).shape
    monkeypatch.setattr(common.model.adapter, "_read_weights", lambda path: pytest.fail("a tensor was read"))
    with pytest.raises(AdapterError, match=message):
        read_adapter(directory, shape)


def test_a_sound_adapter_is_read_also_in_sixteen_bits(tmp_path, tiny_model):
    import torch
    from safetensors.torch import save_file as save_torch

    shape = resolve_model(str(tiny_model)).shape
    directory = make_adapter(tmp_path / "adapter", tiny_model)
    sound = read_adapter(directory, shape).weights
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        tensors = {name: torch.from_numpy(value).to(kind) for name, value in sound.items()}
        save_torch(tensors, directory / WEIGHTS_NAME)
        for name, value in read_adapter(directory, shape).weights.items():
            assert value.dtype == np.float32
            assert np.array_equal(value, tensors[name].float().numpy())


@pytest.mark.parametrize("content", [b"", b"\x80\x04}.", b"PK\x03\x04", b"\xff" * 64, b"\x10" + b"\x00" * 7 + b"{}"])
def test_pickles_and_rubbish_under_the_name_of_weights_are_refused(tmp_path, tiny_model, content):
    directory = make_adapter(tmp_path / "adapter", tiny_model)
    (directory / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(AdapterError, match="damaged or no safetensors file"):
        read_adapter(directory)


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "run.lock", "previews.jsonl"])
def test_a_run_whose_files_link_elsewhere_is_not_written_through(tmp_path, tiny_config, name):
    outside, run = tmp_path / "outside", tmp_path / "run"
    run.mkdir()
    if name == "checkpoints":
        outside.mkdir()
    else:
        outside.write_text("mine")
    (run / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match=f"{name} is a link to .*outside the run directory"):
        train_run(tiny_config(run), run, resume=True, requested_engine="cuda")
    assert list(outside.iterdir()) == [] if name == "checkpoints" else outside.read_text() == "mine"


def test_a_manifest_that_points_outside_is_refused(tmp_path, tiny_config):
    from common.files import sha256_file
    from common.run.checkpoint import load_checkpoint

    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2, quantize="none"), run, resume=False, requested_engine="cuda")
    directory = run / "checkpoints" / "step-2"
    secret = tmp_path / "secret"
    secret.write_text("x")
    for path in ("../../../secret", str(secret)):
        manifest = json.loads((directory / "manifest.json").read_text())
        manifest["files"][path] = {"bytes": 1, "sha256": sha256_file(secret)}
        (directory / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match="missing from the checkpoint"):
            load_checkpoint(directory)
