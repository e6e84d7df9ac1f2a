"""What is read from a model directory, and what is refused: no code, no pickles, nothing fetched at run time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.engine import EngineSpec
from common.errors import ModelError
from cuda_sum import device
from cuda_sum.model import load_model

ModelDir = Callable[[str], Path]
CPU = torch.device("cpu")


@pytest.fixture
def copied(model_dir: ModelDir, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir("llama"), tmp_path / "model"))


def change_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_code_in_a_model_directory_is_not_run(copied: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (copied / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    change_config(copied, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    model, _ = load_model(EngineSpec(copied, quantize="none"), CPU, torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert not marker.exists()


def test_pickled_weights_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be loaded .*safetensors"):
        load_model(EngineSpec(copied, quantize="none"), CPU, torch.float32)


def test_a_damaged_file_is_named(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(ModelError, match=str(copied)):
        load_model(EngineSpec(copied, quantize="none"), CPU, torch.float32)


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
    ],
)
def test_bases_quantized_by_other_tools_are_refused_with_the_remedy(
    changes: dict[str, object], by: str, copied: Path
) -> None:
    change_config(copied, **changes)
    with pytest.raises(ModelError, match=rf"quantized by {by}.*use the unquantized model"):
        load_model(EngineSpec(copied), CPU, torch.float32)


def test_bitsandbytes_cannot_fetch_a_kernel_while_it_is_imported(tmp_path: Path) -> None:
    """It imports `kernels` on CPUs with AVX-512 BF16 and downloads with it; here stand-ins report what they may do."""
    (tmp_path / "kernels.py").write_text("")
    (tmp_path / "bitsandbytes.py").write_text(
        "try:\n    import kernels\n    fetched = True\nexcept ImportError:\n    fetched = False\n"
    )
    script = (
        "from cuda_sum.model import import_bitsandbytes\n"
        "import_bitsandbytes(required=True)\n"
        "import bitsandbytes, kernels\n"
        "print(bitsandbytes.fetched, 'nf4' in dir(bitsandbytes), kernels.__file__)\n"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split()[0] == "False"
    assert result.stdout.split()[2] == str(tmp_path / "kernels.py")


def test_a_t4_computes_in_float16_though_torch_says_it_has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    for capability, wanted in (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, capability=capability: capability)
        assert device.compute_dtype("auto", torch.device("cuda")) == wanted


def test_a_cpu_computes_in_bfloat16_only_with_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda has=has: has)
        assert device.compute_dtype("auto", CPU) == wanted
    assert device.compute_dtype("float16", CPU) == torch.float16


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_the_peak_counts_from_the_last_reset() -> None:
    size = 64 * 2**20
    block = torch.ones(size, dtype=torch.uint8)
    with_block = device.peak_memory_bytes(CPU)
    del block
    device.reset_peak_memory(CPU)
    without = device.peak_memory_bytes(CPU)
    assert with_block - without > size / 2
    again = torch.ones(size, dtype=torch.uint8)
    assert device.peak_memory_bytes(CPU) - without > size / 2
    assert len(again) == size
