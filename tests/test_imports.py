"""The import rule: the shared layer stays light, the engines stay apart."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "torch",
    "mlx",
    "mlx_lm",
    "peft",
    "bitsandbytes",
    "transformers",
    "datasets",
    "matplotlib",
    "mlx_sum",
    "cuda_sum",
}


def imported_modules(path: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_the_shared_layer_imports_nothing_heavy_at_module_level():
    files = sorted([*(ROOT / "common").rglob("*.py"), *(ROOT / "sumkit").rglob("*.py")])
    assert len(files) > 20
    for path in files:
        assert not imported_modules(path, top_level_only=True) & HEAVY, path


def test_the_engines_never_import_each_other():
    for package, forbidden in (("mlx_sum", {"cuda_sum", "torch"}), ("cuda_sum", {"mlx_sum", "mlx", "mlx_lm"})):
        files = sorted((ROOT / package).rglob("*.py"))
        assert files
        for path in files:
            assert not imported_modules(path, top_level_only=False) & forbidden, path


# From the ground up: a room imports only from rooms that come before it. Put a new room after all that it imports.
ORDER = """
    errors nearest text settings files config order safe_text progress version types process
    engine engine_base model generation metrics remote check data run report budget evaluation train corpus
    journey documents summarize __init__ align doctor recipes serve export sweep cli
"""
ROOMS = ORDER.split()


def room_imports() -> dict[str, set[str]]:
    """room -> the other rooms of `common` that any of its files imports, at module level or later."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "common").rglob("*.py")):
        room = path.relative_to(ROOT / "common").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "common":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] == "common"]
            for name in names:
                other = [*name.split("."), "__init__"][1]
                other = (
                    other
                    if (ROOT / "common" / other).is_dir() or (ROOT / f"common/{other}.py").is_file()
                    else "__init__"
                )
                found.setdefault(room, set()).add(other)
    return {room: others - {room} for room, others in found.items()}


def test_no_room_of_the_shared_layer_imports_a_later_one():
    imports = room_imports()
    assert sum(map(len, imports.values())) > 100
    places = {
        path.stem for path in (ROOT / "common").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(ROOMS) == places
    backwards = [
        f"{room} imports {other}"
        for room, others in imports.items()
        for other in others
        if ROOMS.index(other) > ROOMS.index(room)
    ]
    assert not backwards, backwards


# Files that one engine has alone, and why.
ALONE = {
    "mlx_sum/feed_forward.py": "MLX keeps more of a feed-forward layer than it needs; torch's are in fast.py",
    "mlx_sum/forward.py": "a pass that reads target rows only; torch's is made of transformers' own layers, in fast.py",
    "cuda_sum/fast.py": "see mlx_sum/feed_forward.py and forward.py",
    "cuda_sum/cache.py": "mlx-lm has a cache of rows that end at different positions",
    "cuda_sum/linears.py": "the base layer and the adapter as one function, which MLX's graph does by itself",
    "cuda_sum/packed.py": "weights as oneDNN, torch's library on a CPU, wants them",
}
# Public names that one engine's file has beside its twin's, and why.
OWN_NAMES = {
    "mlx_sum/attention.py": ("attend", "causal_attention", "project_out", "use_own_attention"),
    "cuda_sum/attention.py": ("blockwise_attention",),  # each a cure of its library's attention
    "cuda_sum/device.py": (
        "cpu_multiplies_bfloat16",  # MLX computes in bfloat16 everywhere
        *("KEPT_PRODUCTS", "limit_kept_products", "return_freed_memory", "free_memory_bytes"),  # memory of torch's CPU
        *("send", "synchronize"),  # MLX has no memory of its own to send to, and waits where values are read
    ),
    "mlx_sum/engine.py": ("MlxEngine", "FLOAT16_LOSS_SCALE", "FORMER_STATE"),  # the scale is fixed: no LossScaler
    "cuda_sum/engine.py": ("CudaEngine", "DENSE_ROOM", "PACK_FOR"),  # MLX multiplies quantized weights as they are
    "mlx_sum/functions.py": ("gated_gelu", "gated_silu", "gelu", "lora_product"),
    "cuda_sum/functions.py": (  # each library fuses what the other does not
        *("BLOCK", "FEW", "FEW_QUERIES", "activate", "attention_by_groups", "causal_attention", "compile_functions"),
        *("gate", "gate_backward", "joined_attention", "rms_norm", "rotate"),
    ),
    "cuda_sum/generate.py": ("Head", "LIKELIEST", "PREFILL_FILL", "PREFILL_TOKENS", "prefill_slices"),
    "mlx_sum/lora.py": ("LoraLinear", "checked_weights", "dense_weight", "product", "row_lengths", "to_device"),
    "cuda_sum/lora.py": ("LowRank", "PEFT_ADAPTER"),  # peft makes the layers; the buffer is the Adapter's
    "mlx_sum/loss.py": ("Head", "negative_log_likelihood"),  # torch has cross_entropy
    "mlx_sum/model.py": (
        *("ACTIVATIONS", "MODULES", "ROPE_TYPES", "check_supported", "mlx_settings"),  # what mlx-lm would ignore
        *("BITS", "quantize_linears", "TanhGeluMLP", "log"),
        *("final_norm", "floating_dtype", "head_of", "is_recomputed", "recompute"),  # mlx-lm's models differ in names
    ),
    "cuda_sum/model.py": (
        *("DROPOUTS", "HEAD", "check_quantized", "import_bitsandbytes", "is_quantized"),
        "dense_weight",  # in lora.py on MLX, where nothing else needs it
    ),
    "mlx_sum/optimizer.py": ("Arrays", "global_norm"),  # torch's norm is of one buffer
    "cuda_sum/optimizer.py": ("FIRST_SCALE", "GROWTH_STEPS", "LossScaler", "PAGED_NAME", "SMALLEST_SCALE"),
    "mlx_sum/token_rows.py": ("Head", "head_with_rows"),  # torch writes the rows into the head's own matrix
}
# Functions that both have with other parameters: MLX has one device, a shared memory and arrays that don't change.
OWN_PARAMETERS = {
    *("device.compute_dtype", "device.device_info", "device.peak_memory_bytes", "device.reset_peak_memory"),
    *("distributed.join_group", "distributed.sum_over_ranks", "lora.attach_adapter"),
    "model.load_model",
}


def public_names(path: Path) -> dict[str, list[str]]:
    """Functions, classes and constants of a file, with the parameters of functions."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        elif isinstance(node, ast.ClassDef):
            found[node.name] = []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id: [] for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name: parameters for name, parameters in found.items() if not name.startswith("_")}


def engine_files(package: str) -> dict[str, dict[str, list[str]]]:
    return {path.name: public_names(path) for path in sorted((ROOT / package).glob("*.py"))}


def test_the_engines_are_twins_in_files_public_names_and_parameters():
    mlx, cuda = engine_files("mlx_sum"), engine_files("cuda_sum")
    alone = {f"mlx_sum/{name}" for name in mlx.keys() - cuda} | {f"cuda_sum/{name}" for name in cuda.keys() - mlx}
    assert alone == set(ALONE)
    parameters = set()
    for name in mlx.keys() & cuda.keys():
        for package, own, other in (("mlx_sum", mlx, cuda), ("cuda_sum", cuda, mlx)):
            extra = own[name].keys() - other[name].keys()
            assert extra == set(OWN_NAMES.get(f"{package}/{name}", ())), f"{package}/{name}"
        both = mlx[name].keys() & cuda[name].keys()
        parameters |= {f"{name.removesuffix('.py')}.{one}" for one in both if mlx[name][one] != cuda[name][one]}
    assert parameters == OWN_PARAMETERS
    methods = []
    for package in ("mlx_sum", "cuda_sum"):
        body = ast.parse((ROOT / package / "engine.py").read_text(encoding="utf-8")).body
        members = [node for part in body if isinstance(part, ast.ClassDef) for node in part.body]
        methods.append({node.name for node in members if isinstance(node, ast.FunctionDef) and node.name[0] != "_"})
    assert {"step", "generate", "save"} < methods[0]
    assert methods[0] == methods[1]


IMPORT_EVERY_FILE = """
import importlib, json, logging, os, signal, sys, threading, warnings
from pathlib import Path

package, *libraries = sys.argv[1:]
for library in libraries:
    importlib.import_module(library)

def settings():
    found = {
        "environment": dict(os.environ), "filters": [str(one) for one in warnings.filters],
        "threads": [one.name for one in threading.enumerate()], "interrupt": str(signal.getsignal(signal.SIGINT)),
        "levels": {name: logging.getLogger(name).level for name in ["root", "bitsandbytes", "transformers", "peft"]},
    }
    if "torch" in libraries:
        import torch
        found["torch"] = [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
                          torch.initial_seed(), torch.backends.cuda.matmul.allow_tf32]
    if "mlx.core" in libraries:
        import mlx.core as mx
        found["mlx"] = [str(mx.default_device()), mx.set_cache_limit(mx.set_cache_limit(1 << 30))]
    return found

before = settings()
for path in sorted(Path(package).glob("*.py")):
    importlib.import_module(f"{package}.{path.stem}".removesuffix(".__init__"))
after = settings()
print(json.dumps({name: [before[name], after[name]] for name in before if before[name] != after[name]}))
"""
LIBRARIES = {
    "mlx_sum": ("mlx.core", "mlx_lm.utils", "mlx_lm.models.cache"),
    "cuda_sum": ("torch", "transformers", "peft", "psutil", "safetensors"),
}


@pytest.mark.parametrize("package", sorted(LIBRARIES))
def test_importing_an_engine_changes_no_setting_of_the_process(package):
    command = [sys.executable, "-c", IMPORT_EVERY_FILE, package, *LIBRARIES[package]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "{}\n"


def test_importing_sumkit_loads_nothing_heavy_until_it_is_used():
    program = (
        "import sys, sumkit; heavy = {'numpy', 'click', 'pydantic', 'torch', 'mlx', 'transformers'}; "
        "loaded = {m.split('.')[0] for m in sys.modules} & heavy; sumkit.Summarizer.load; "
        "assert 'numpy' in sys.modules; sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_help_and_budget_load_no_numerical_library():
    program = (
        "import sys; from common.cli.main import group, run; "
        "run(group, ['--help']); run(group, ['budget', '--flops', '1e18']); "
        "loaded = {m.split('.')[0] for m in sys.modules} & {'torch', 'mlx', 'transformers', 'numpy', 'scipy'}; "
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "budget" in answer.stdout
