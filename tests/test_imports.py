"""The import rule: the shared layer stays light, the engines stay apart."""

import ast
import subprocess
import sys
from pathlib import Path

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
    errors nearest text settings files config safe_text progress version types process
    engine model generation metrics check data run report budget evaluation train corpus
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


# What each file of an engine is for, by the names that both engines give it. Names beyond these belong to one
# library's way of doing it.
TWINS = {
    "engine.py": {"build"},
    "device.py": {
        "pick_device",
        "compute_dtype",
        "dtype_name",
        "device_info",
        "peak_memory_bytes",
        "reset_peak_memory",
    },
    "model.py": {"load_model", "recompute_layers"},
    "lora.py": {"attach_adapter"},
    "loss.py": {"training_loss", "loss_sum", "target_rows", "chunk_rows"},
    "token_rows.py": {"start_rows", "make_room"},
    "optimizer.py": {"clip_factor"},
    "generate.py": {"generate", "make_sampler", "draw_token"},
    "checkpoint.py": {"save_state", "read_state"},
    "distributed.py": {"join_group", "sum_over_ranks"},
    "train.py": set(),
}


def test_the_engines_are_twins_in_files_and_public_names():
    def functions(path: Path) -> set[str]:
        return {
            node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        }

    for package in ("mlx_sum", "cuda_sum"):
        for name, promised in TWINS.items():
            missing = promised - functions(ROOT / package / name)
            assert not missing, f"{package}/{name} lacks {missing}"


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
