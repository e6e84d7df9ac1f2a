"""A tiny model with a tokenizer and a tiny data set on disk, for whole runs on either engine."""

import json
from pathlib import Path

import pytest

from common.settings import RunConfig
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

ENGINES = ("mlx", "cuda")
SUBJECTS = ("council", "team", "storm", "bridge", "engineers", "traffic", "release", "power")


def rows(count: int, offset: int = 0) -> list[dict[str, str]]:
    """Short documents that differ in every row, each with a summary that can be learnt from it."""
    made = []
    for index in range(offset, offset + count):
        subject, other = SUBJECTS[index % 8], SUBJECTS[(index // 8 + index + 3) % 8]
        made.append(
            {
                "id": f"row-{index}",
                "document": f"On day {index} the {subject} met the {other} and said that {index * 7} homes were safe. "
                f"Nobody asked the {other} why it took {index + 2} hours to close the road.",
                "summary": f"The {subject} told the {other} that {index * 7} homes were safe.",
            }
        )
    return made


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    build_tiny_model(directory, "qwen2")
    return build_tiny_tokenizer(directory)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    for name, count, offset in (("train", 24, 0), ("dev", 6, 100), ("test", 6, 200)):
        lines = [json.dumps(row) for row in rows(count, offset)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


@pytest.fixture
def tiny_config(tiny_model, tiny_data):
    """Builds the settings of a run of a few steps; keyword arguments are settings by name."""
    from common import config

    def build(run: Path, **changes: object) -> RunConfig:
        flags = {
            "data": str(tiny_data),
            "model": str(tiny_model),
            "run": str(run),
            "max_length": 192,
            "max_summary_tokens": 64,
            "batch_size": 4,
            "steps": 6,
            "learning_rate": 1e-3,
            "max_new_tokens": 12,
            "eval_every": 3,
            "save_every": 2,
            "keep_checkpoints": 5,
            "duplicates": "keep",
            "leaks": "keep",
            **changes,
        }
        return config.resolve(config.from_flags(flags))

    return build
