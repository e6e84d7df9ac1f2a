"""Where an order is carried out: in a supervised child (`python -m common.cli.worker ORDER`), or in this process.

Running out of memory can end a process without an exception; a child can be started again (see
`common.process.supervise`), with half the micro-batch and from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.budget.curve_file import SETTINGS_FILE
from common.errors import SumkitError
from common.files import FULL, GONE, disk_error
from common.order import Order
from common.process.signals import Interrupted, InterruptOnSignal
from common.process.supervise import (
    OUT_OF_MEMORY_STATUS,
    die_with_parent,
    is_out_of_memory,
    retry_request,
    should_supervise,
    supervise_order,
)
from common.progress import note, settle_libraries
from common.safe_text import visible

if TYPE_CHECKING:
    from common.settings import RunConfig

LEAST_TOKENS = 64


def launch(order: Order) -> int:
    """Carry out an order, in a supervised child where that helps; returns the exit status (130, 143 after a signal)."""
    return supervise_order(order) if should_supervise() else carry_out(order)


def carry_out(order: Order) -> int:
    """Carry out an order in this process; returns the exit status."""
    if order.work == "trial":
        from common.sweep.trial import run_trial

        return run_trial(order)
    from common.journey import run_and_print

    if order.work == "align":
        from common.align.alignment import Alignment

        return run_and_print(order, Alignment(order.settings.align.start))
    return run_and_print(order)


def main(text: str) -> int:
    """Carry out the order of a supervisor; returns the exit status."""
    with InterruptOnSignal():
        order = None
        try:
            settle_libraries()
            order = Order.from_json(text)
            return carry_out(smaller(order, retry_request()))
        except Interrupted as stop:
            _say_how_to_go_on(order)
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


def smaller(order: Order, halvings: int) -> Order:
    """The order after so many ends for lack of memory: it goes on, with smaller batches."""
    if not halvings:
        return order
    config = with_smaller_batches(order.settings, halvings)
    tokens = config.training.micro_batch_tokens
    note(f"micro-batches of at most {tokens} tokens now; an optimizer step still sees the same examples")
    return dataclasses.replace(order, settings=config, resume=True)


def _say_how_to_go_on(order: Order | None) -> None:
    if order and any((order.path / name).is_file() for name in ("config.yaml", SETTINGS_FILE)):
        if order.command:  # a sweep says itself how it goes on
            _say(f"interrupted. Continue with: {order.command}")
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
