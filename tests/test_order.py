"""Orders: the same on both sides of the process border, and one run directory for all that follows."""

import json
import shlex
from pathlib import Path

import pytest

from common.config import from_flags, resolve
from common.errors import ConfigError
from common.order import Order, resume_command, with_run


def test_an_order_comes_out_of_json_as_it_went_in():
    settings = resolve(from_flags({"data": "Notizen für März.csv", "rank": 4, "run": "runs/a b", "epochs": 2.5}))
    order = Order(settings, "trial", resume=True, prints="json", adapt=True, samples=2, share=0.25, rouge=0)
    again = Order.from_json(order.to_json())
    assert again == order
    assert again.path == Path("runs/a b")
    damaged = json.loads(order.to_json())
    damaged["settings"]["lora"]["rank"] = 0
    with pytest.raises(ConfigError, match="--rank 0"):
        Order.from_json(json.dumps(damaged))


def test_a_run_directory_is_chosen_once_and_a_given_one_kept():
    given = resolve(from_flags({"data": "notes/My Notes.csv", "model": "Qwen/Qwen2.5-0.5B"}))
    chosen = with_run(given)
    assert chosen.output.run.startswith("runs/qwen2.5-0.5b-my-notes-2")
    assert with_run(given, "sweep").output.run.startswith("runs/sweep-qwen2.5-0.5b-my-notes-2")
    assert with_run(chosen, "sweep") == chosen
    assert with_run(resolve(from_flags({"data": "demo"}))).output.run == "runs/demo"


def test_the_command_that_goes_on_can_be_pasted():
    settings = resolve({"output": {"run": "runs/a b"}, "align": {"start": "runs/it's"}})
    assert shlex.split(Order(settings).command) == [
        *("sumkit", "align", "runs/it's", "--run", "runs/a b", "--resume"),
    ]
    assert Order(settings, "trial").command == ""
    assert resume_command(Path("runs/x")) == "sumkit train --run runs/x --resume"
