"""The import rule: the shared layer stays light, the engines stay apart."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
    files = sorted((ROOT / "common").rglob("*.py"))
    assert len(files) > 20
    for path in files:
        assert not imported_modules(path, top_level_only=True) & HEAVY, path


def test_the_engines_never_import_each_other():
    for package, forbidden in (("mlx_sum", {"cuda_sum", "torch"}), ("cuda_sum", {"mlx_sum", "mlx", "mlx_lm"})):
        files = sorted((ROOT / package).rglob("*.py"))
        assert files
        for path in files:
            assert not imported_modules(path, top_level_only=False) & forbidden, path


def test_the_engines_are_twins_in_files_and_public_names():
    def public_names(package: str) -> dict[str, set[str]]:
        shared = [p for p in (ROOT / package).glob("*.py") if p.name in TWINS]
        return {
            path.name: {
                node.name
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            }
            for path in shared
        }

    mlx, cuda = public_names("mlx_sum"), public_names("cuda_sum")
    assert set(mlx) == set(cuda) == TWINS
    assert mlx == cuda


TWINS = {"engine.py", "device.py", "model.py", "lora.py", "loss.py", "generate.py", "checkpoint.py", "train.py",
         "distributed.py"}  # fmt: skip


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
