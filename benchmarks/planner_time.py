"""The probe's prediction of a run's time against what the run took.

    python benchmarks/planner_time.py [--minutes 10] [--model NAME] [--data PATH] [--engine cuda|mlx] [--cpu-seconds]

Probes for 45 seconds, makes the run as many steps as the probe says fill the time, trains, and compares. On a machine
shared with others, --cpu-seconds takes CPU time of this process (one thread) for both in place of wall time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import headline, write_result
from common.budget.flops import StepCounter
from common.budget.known_model import find_known_model
from common.budget.probe import probe
from common.budget.run_shape import find_run_shape
from common.budget.time import estimate_time
from common.budget.workload import find_workload
from common.run.preparation import lora_spec
from common.settings import DataSettings, ModelSettings, OutputSettings, PromptSettings, RunConfig, TrainingSettings
from common.train.training import train_run

ALLOWED_ERROR = 0.15


def main() -> None:
    """Probe, train, compare, and write benchmarks/results/planner_time.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--engine", choices=["auto", "mlx", "cuda"], default="cuda")
    parser.add_argument("--cpu-seconds", action="store_true")
    options = parser.parse_args()
    if options.cpu_seconds:
        os.environ["OMP_NUM_THREADS"] = "1"
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    config = RunConfig(
        data=DataSettings(data=options.data),
        prompt=PromptSettings(max_length=512),
        model=ModelSettings(model=options.model, quantize="none"),
        training=TrainingSettings(epochs=1, batch_size=8, micro_batch_tokens=2048),
        output=OutputSettings(engine=options.engine, final_eval=False),
    )
    rate = probe(config, clock=clock).rate
    model = find_known_model(options.model)
    workload = find_workload(config, model)
    counters = StepCounter(model.shape, lora_spec(config)), StepCounter(model.shape, None)
    epoch = estimate_time(rate, *counters, find_run_shape(config, workload), "probe")
    share = options.minutes * 60 / epoch.seconds
    steps = max(1, round(find_run_shape(config, workload).total_steps * share))
    config = replace(config, training=replace(config.training, steps=steps))
    predicted = estimate_time(rate, *counters, find_run_shape(config, workload), "probe")
    print(f"probe: {rate.flops_per_second / 1e9:.1f} GFLOP/s and {rate.seconds_per_batch * 1e3:.0f} ms a micro-batch "
          f"over {rate.steps} steps; {steps} steps should take {predicted.seconds:.0f} s", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start, wall_start = clock(), time.perf_counter()
        finished = train_run(config, Path(folder) / "run", resume=False, requested_engine=options.engine)
        whole, wall = clock() - start, time.perf_counter() - wall_start
        rows = finished.run.read_metrics()
    evaluating = sum(row.get("eval_seconds", 0.0) for row in rows)
    took = whole if options.cpu_seconds else finished.state.seconds + evaluating
    error = predicted.seconds / took - 1
    unit = "CPU seconds of one thread" if options.cpu_seconds else "wall seconds"
    print(
        f"predicted {predicted.seconds:.0f} {unit}, took {took:.0f}: {error:+.1%} (whole command {whole:.0f}, by the "
        f"wall clock {wall:.0f})"
    )
    write_result(
        "planner_time",
        f"python benchmarks/planner_time.py --minutes {options.minutes:g} --model {options.model} --data "
        f"{options.data if options.data == 'demo' else 'DATA'} --engine {options.engine}"
        + (" --cpu-seconds" if options.cpu_seconds else ""),
        [{"unit": unit, "steps": steps, "predicted_seconds": predicted.seconds, "seconds": took, "error": error,
          "wall_seconds": wall, "flops_per_second": rate.flops_per_second,
          "seconds_per_batch": rate.seconds_per_batch}],
        headline(f"relative error of the predicted {'CPU time' if options.cpu_seconds else 'time'}", abs(error),
                 ALLOWED_ERROR, "15 % at most", lower_is_better=True),
        packages=["torch", "transformers", "mlx"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
