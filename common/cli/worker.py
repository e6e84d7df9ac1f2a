"""The supervised child: `python -m common.cli.worker ORDER`, ORDER being the JSON that `common.journey.launch` makes
(or `common.align.journey.launch`, or `common.sweep.trial.launch_trial`).

Not a command for people. A retry (see `common.process.supervise`) halves the micro-batch and resumes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.budget.curve_file import SETTINGS_FILE
from common.errors import SumkitError
from common.files import FULL, GONE, disk_error
from common.process.signals import Interrupted, InterruptOnSignal
from common.process.supervise import OUT_OF_MEMORY_STATUS, die_with_parent, is_out_of_memory, retry_request
from common.progress import note, settle_libraries
from common.safe_text import visible

if TYPE_CHECKING:
    from common.settings import RunConfig

LEAST_TOKENS = 64


def main(order: str) -> int:
    """Carry out one order; returns the exit status."""
    with InterruptOnSignal():
        try:
            return _carry_out(json.loads(order))
        except Interrupted as stop:
            wanted = json.loads(order)
            if "trial" not in wanted:  # a sweep says itself how it goes on
                config = wanted["config"]
                _say_how_to_go_on(Path(config["output"]["run"]), config["align"]["start"])
            return 128 + stop.number
        except SumkitError as error:
            _say(str(error))
            return error.exit_code
        except OSError as error:
            if error.filename is None and error.errno not in (*FULL, *GONE):
                raise
            _say(str(disk_error(Path(str(error.filename or "a file")), error)))
            return 1
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _say(str(error).split("\n")[0] or "an allocation failed")
            return OUT_OF_MEMORY_STATUS


def _carry_out(wanted: dict[str, Any]) -> int:
    from common.config import resolve
    from common.journey import run_and_print

    settle_libraries()
    config = resolve(wanted["config"], "command line")
    retries = retry_request()
    if retries:
        config = with_smaller_batches(config, retries)
        tokens = config.training.micro_batch_tokens
        note(f"micro-batches of at most {tokens} tokens now; an optimizer step still sees the same examples")
    trial = wanted.get("trial")
    if trial:
        from common.sweep.trial import run_trial

        return run_trial(config, trial["share"], trial["rouge_documents"])
    resume = wanted["resume"] or retries > 0
    if wanted.get("align"):
        from common.align.journey import align_and_print

        return align_and_print(config, resume, wanted["json"])
    wishes = {name: wanted[name] for name in ("adapt", "curve", "eval_only", "samples")}
    return run_and_print(config, resume, wanted["style"], **wishes)


def _say_how_to_go_on(run: Path, start: str) -> None:
    if any((run / name).is_file() for name in ("config.yaml", SETTINGS_FILE)):
        command = f"align {start}" if start else "train"
        _say(f"interrupted. Continue with: sumkit {command} --run {run} --resume")
    else:
        _say("interrupted before anything was written")


def _say(message: str) -> None:
    print(f"sumkit: {visible(message)}", file=sys.stderr, flush=True)


def with_smaller_batches(config: RunConfig, halvings: int) -> RunConfig:
    """The same run with micro-batches and generation batches halved; the effective batch stays."""
    training, generation = config.training, config.generation
    return dataclasses.replace(
        config,
        training=dataclasses.replace(
            training, micro_batch_tokens=max(LEAST_TOKENS, training.micro_batch_tokens >> halvings)
        ),
        generation=dataclasses.replace(
            generation, generation_batch_tokens=max(LEAST_TOKENS, generation.generation_batch_tokens >> halvings)
        ),
    )


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1]))
