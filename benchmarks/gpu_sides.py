"""The sides of train_on_gpu.py: their flags, their processes, and how they take turns. Writes no result."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import SideError, TurnSide, run_side
from benchmarks.record import ROOT

EXAMPLES, BATCH, ACCUMULATION = 16, 4, 4
RANK, ALPHA = 16, 32
WHOLE = {"per_device_train_batch_size": EXAMPLES, "gradient_accumulation_steps": 1}
GROUPED = {"train_sampling_strategy": "group_by_length"}
HALF = {"model_init_kwargs": {"dtype": "HALF"}}  # the side's own 16-bit type; TRL loads in float32 otherwise
TRL_FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "16-bit weights": HALF,
    "16-bit weights, 16 x 1": {**HALF, **WHOLE},
    "grouped by length, 16-bit weights, 16 x 1": {**HALF, **WHOLE, **GROUPED},
    "packed, 16-bit weights": {**HALF, "packing": True, "per_device_train_batch_size": 2},  # two rows a sequence
    "Liger kernels, 16-bit weights, 16 x 1": {**HALF, **WHOLE, "use_liger_kernel": True},
    "Liger kernels, grouped by length, 16-bit weights, 16 x 1": {**HALF, **WHOLE, **GROUPED, "use_liger_kernel": True},
}
OWN_FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "--micro-batch-tokens 16384": {"micro_batch_tokens": 16_384},
    "--compile": {"compile": True},
    "--compile --micro-batch-tokens 16384": {"compile": True, "micro_batch_tokens": 16_384},
}
SIDES = ("sumkit", "sumkit best", "TRL", "TRL best", "Unsloth")
WORKERS = {"TRL": "trl_sft.py", "Unsloth": "unsloth_sft.py"}
QUANTIZE = {"sumkit": "4bit", "peer": "nf4"}


@dataclass
class Bench:
    """The sides, and what they share."""

    folder: Path
    model: Path
    rows: Path
    pythons: dict[str, Path | None]
    learning_rate: float
    as_on_a_t4: bool
    at_once: int
    search_steps: int
    best: dict[str, str] = field(default_factory=dict)
    search: list[dict[str, Any]] = field(default_factory=list)

    def start(self, side: str, flags: str, precision: str, turns: int, steps: int, output: str = "") -> TurnSide:
        """A side's process, loading."""
        quantized, _, dtype = precision.rpartition("-")
        spec: dict[str, Any] = {
            "mode": "turns", "model": str(self.model), "rows": str(self.rows), "output": output, "seed": 0,
            "steps": steps, "warmup": 2 if steps > 3 else 1, "turns": turns, "rank": RANK, "alpha": ALPHA,
            "learning_rate": self.learning_rate, "dtype": dtype, "as_on_a_t4": self.as_on_a_t4,
        }  # fmt: skip
        name = f"{side}-{flags}-{precision}".replace(" ", "-").replace(",", "")
        path, log = self.folder / f"{name}.json", self.folder / f"{name}.log"
        if side.startswith("sumkit"):
            spec |= {
                "engine": "cuda", "batch_size": EXAMPLES, "micro_batch_tokens": 4096,
                "quantize": QUANTIZE["sumkit"] if quantized else "none", **OWN_FLAGS[flags],
            }  # fmt: skip
            command: list[str | Path] = [sys.executable, "-m", "benchmarks.own_training", path]
        else:
            chosen = json.loads(json.dumps(TRL_FLAGS[flags]).replace('"HALF"', f'"{dtype}"'))
            spec |= {
                "batch": BATCH, "accumulation": ACCUMULATION, "flags": chosen,
                "quantize": QUANTIZE["peer"] if quantized else "none",
            }  # fmt: skip
            peer = side.split()[0]
            python = self.pythons[peer]
            if python is None:
                raise SideError(f"no environment for {peer}: it needs a GPU")
            command = [python, ROOT / "benchmarks" / "peers" / WORKERS[peer], path]
        path.write_text(json.dumps(spec), encoding="utf-8")
        return TurnSide(command, log, {"HF_HUB_OFFLINE": "1"})

    def find_best(self, side: str, precision: str) -> None:
        """Try the side's flags for a few steps each; keeps the fastest in `best`, and all in `search`."""
        names = list(OWN_FLAGS if side == "sumkit" else TRL_FLAGS)
        found: dict[str, float] = {}
        for first in range(0, len(names), self.at_once):
            part = names[first : first + self.at_once]
            started = [(name, self.start(side, name, precision, 1, self.search_steps)) for name in part]
            rows = {name: {"search": side, "precision": precision, "flags": name} for name in part}
            ready = []
            for name, process in started:  # all are loaded before the first is timed
                try:
                    process.wait()
                    ready.append((name, process))
                except SideError as error:
                    rows[name]["failed"] = last_line(error)
                    say(f"search: {side} {name}: does not run here: {rows[name]['failed']}")
                    process.stop()
            for name, process in ready:
                row: dict[str, Any] = rows[name]
                try:
                    result = process.turn()
                    process.end()
                    found[name] = result["tokens"] / result["seconds"]
                    row |= {"tokens_per_second": found[name], "peak_training_bytes": result["peak_training_bytes"]}
                    say(f"search: {side} {name}: {found[name]:.0f} tokens/s")
                except SideError as error:
                    row["failed"] = last_line(error)
                    say(f"search: {side} {name}: does not run here: {row['failed']}")
                finally:
                    process.stop()
            self.search += rows.values()
        self.best[side] = max(found, key=lambda name: found[name]) if found else "default"

    def measure(self, sides: list[str], precision: str, turns: int) -> dict[str, dict[str, Any]]:
        """Each side's turns, and where its adapter lies; a side that fails has the reason."""
        measured: dict[str, dict[str, Any]] = {}
        started: dict[str, TurnSide] = {}
        for side in sides:
            flags = self.best.get(side.split()[0], "default") if side.endswith("best") else "default"
            output = self.folder / f"adapter-{side}-{precision}".replace(" ", "-")
            measured[side] = {"flags": flags, "output": str(output), "turns": []}
            try:
                started[side] = self.start(side, flags, precision, turns, 0, str(output))
            except SideError as error:
                measured[side]["failed"] = str(error)
        for side in list(started):
            self._try(started, measured, side, TurnSide.wait)
        for turn in range(turns):
            for side in list(started)[:: 1 if turn % 2 == 0 else -1]:
                result = self._try(started, measured, side, TurnSide.turn)
                if result is not None:
                    measured[side]["turns"].append(result)
                    say(f"{precision} {side} {turn + 1}: {result['tokens'] / result['seconds']:.0f} tokens/s, "
                        f"{result['peak_training_bytes'] / 1e6:.0f} MB")  # fmt: skip
                    if turn + 1 < turns:
                        self._try(started, measured, side, TurnSide.wait)
        for side in list(started):
            self._try(started, measured, side, TurnSide.end)
        for process in started.values():
            process.stop()
        return measured

    def _try(self, started: dict[str, TurnSide], measured: dict[str, dict[str, Any]], side: str, word: Any) -> Any:
        """A word with a side; where its process failed it takes no further part."""
        try:
            return word(started[side])
        except SideError as error:
            measured[side]["failed"] = last_line(error)
            say(f"{side} does not run here: {measured[side]['failed']}")
            started.pop(side).stop()
            return None

    def own(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A mode of sumkit's side that takes no turns."""
        shared = {"model": str(self.model), "seed": 0, "engine": "cuda", "as_on_a_t4": self.as_on_a_t4}
        path = self.folder / "own.json"
        path.write_text(json.dumps({**shared, **spec}), encoding="utf-8")
        return run_side([sys.executable, "-m", "benchmarks.own_training", path], self.folder / "own.log")


def last_line(error: Exception) -> str:
    """What a process said last, on one line, without the machine's folders."""
    line = str(error).strip().splitlines()[-1][:300]
    return line.replace(str(ROOT), "").replace(str(Path.home()), "~")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
