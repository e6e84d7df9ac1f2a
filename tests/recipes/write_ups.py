"""Small files in the column layouts that the recipes' data sets have on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUBJECTS = ("council", "team", "storm", "bridge", "engineers", "traffic", "release", "power")
SPLITS = (("train", 24, 0), ("validation", 4, 100), ("test", 4, 200))


def texts(index: int) -> tuple[str, str]:
    """A document that no other index has, and its summary."""
    subject, other = SUBJECTS[index % 8], SUBJECTS[(index // 8 + index + 3) % 8]
    document = (
        f"On day {index} the {subject} met the {other} and said that {index * 7} homes were safe. "
        f"Nobody asked the {other} why it took {index + 2} hours to close the road."
    )
    return document, f"The {subject} told the {other} that {index * 7} homes were safe."


def write_xsum(folder: Path) -> Path:
    """EdinburghNLP/xsum: Parquet with document, summary, id."""
    for split, count, offset in SPLITS:
        pairs = [(*texts(i), str(30_000_000 + i)) for i in range(offset, offset + count)]
        _parquet(folder / f"{split}.parquet", [dict(zip(("document", "summary", "id"), p, strict=True)) for p in pairs])
    return folder


def write_cnn_dailymail(folder: Path) -> Path:
    """abisee/cnn_dailymail 3.0.0: Parquet with article, highlights, id."""
    for split, count, offset in SPLITS:
        pairs = [(*texts(i), f"{i:040x}") for i in range(offset, offset + count)]
        _parquet(
            folder / f"{split}.parquet", [dict(zip(("article", "highlights", "id"), p, strict=True)) for p in pairs]
        )
    return folder


def write_finetome(folder: Path) -> Path:
    """mlabonne/FineTome-100k: Parquet with ShareGPT conversations, source, score; one file, train only."""
    rows = []
    for index in range(32):
        question, answer = texts(index)
        turns = [("human", question), ("gpt", answer)]
        if index % 4 == 0:  # some go on
            turns += [("human", f"How many homes on day {index}?"), ("gpt", f"It was {index * 7} homes.")]
        conversation = [{"from": speaker, "value": said} for speaker, said in turns]
        rows.append({"conversations": conversation, "source": "infini-instruct-top-500k", "score": 5.2})
    _parquet(folder / "train.parquet", rows)
    return folder


def write_oasst1(folder: Path) -> Path:
    """OpenAssistant/oasst1: one row a message, trees by parent_id; JSON Lines, with train and validation only."""
    for split, count, offset in SPLITS[:2]:
        rows: list[dict[str, Any]] = []
        for index in range(offset, offset + count):
            question, answer = texts(index)
            answer += " It was said once more on the next day." if index % 2 else ""
            rows += [
                _message(f"q{index}", None, "prompter", question, None, index),
                _message(f"b{index}", f"q{index}", "assistant", "I do not know, ask somebody else.", 1, index),
                _message(f"a{index}", f"q{index}", "assistant", answer, 0, index),
                _message(f"f{index}", f"a{index}", "prompter", "Thanks, and then?", None, index),
            ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _message(identifier: str, parent: str | None, role: str, text: str, rank: int | None, tree: int) -> dict[str, Any]:
    return {
        "message_id": identifier, "parent_id": parent, "user_id": "u1", "created_date": "2023-02-05T14:23:50",
        "text": text, "role": role, "lang": "en", "review_count": 3, "review_result": True, "deleted": False,
        "rank": rank, "synthetic": False, "model_name": None, "detoxify": None, "message_tree_id": f"q{tree}",
        "tree_state": "ready_for_export", "emojis": None, "labels": None,
    }  # fmt: skip


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
