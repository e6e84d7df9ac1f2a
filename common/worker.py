"""The supervised child: `python -m common.worker ORDER`, ORDER being the JSON that `common.journey.launch` makes.

Not a command for people. A retry (see `common.supervise`) halves the micro-batch and resumes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from common.errors import SumkitError
from common.progress import settle_libraries
from common.supervise import OUT_OF_MEMORY_STATUS, die_with_parent, is_out_of_memory, retry_request

if TYPE_CHECKING:
    from common.settings import RunConfig

LEAST_TOKENS = 64


def main(order: str) -> int:
    """Carry out one order; returns the exit status."""
    from common.config import resolve
    from common.journey import run_and_print

    settle_libraries()
    wanted = json.loads(order)
    config = resolve(wanted["config"], "command line")
    retries = retry_request()
    if retries:
        config = with_smaller_batches(config, retries)
    try:
        return run_and_print(config, wanted["resume"] or retries > 0, wanted["style"])
    except SumkitError as error:
        print(f"sumkit: {error}", file=sys.stderr)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"sumkit: {str(error).splitlines()[0]}", file=sys.stderr)
        return OUT_OF_MEMORY_STATUS


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
