"""Data sets by name: files in the Hub's layout through the real loader, conversations, and no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from common.data.conversations import best_answers
from common.data.named import HUB_SETS, HubSet, find_hub_set, hub_tables
from common.errors import DataError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set directory laid out as on the Hub, and a cache of its own for the loader."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for split, count in (("train", 3), ("validation", 2)):
        rows = [{"article": f"{split} article {n}", "highlights": f"highlights {n}"} for n in range(count)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), data / f"{split}-00000-of-00001.parquet")
    return tmp_path / "set"


def test_a_hub_set_is_read_split_by_split(repository: Path) -> None:
    tables = hub_tables("known", HubSet(str(repository)))
    assert {split: len(table.rows) for split, table in tables.items()} == {"train": 3, "dev": 2}
    assert tables["dev"].rows[1].values == {"article": "validation article 1", "highlights": "highlights 1"}
    assert tables["dev"].rows[1].place == "row 2"
    assert list(hub_tables("known", HubSet(str(repository)), only="dev")) == ["dev"]


def test_a_set_that_needs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(DataError, match="data set scripted: cannot be loaded"):
        hub_tables("scripted", HubSet(str(folder)))
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_message_says_what_to_do() -> None:
    code = (
        "from common.data.sources import load_splits; from common.settings import DataSettings\n"
        "from common.errors import DataError\n"
        "try: load_splits(DataSettings(data='xsum'), 0)\n"
        "except DataError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "data set xsum: cannot be loaded from the Hub as EdinburghNLP/xsum" in done.stdout
    assert "unset HF_HUB_OFFLINE" in done.stdout
    assert "without a network there is: demo" in done.stdout


def test_names_ids_and_configurations_are_told_apart() -> None:
    assert find_hub_set("cnn_dailymail") is HUB_SETS["cnn_dailymail"]
    assert find_hub_set("owner/name:config") == HubSet("owner/name", "config")
    assert find_hub_set("owner/name") == HubSet("owner/name")
    assert find_hub_set("notes") is None
    assert find_hub_set("a/b/c") is None


def test_the_preferred_answer_of_each_opening_prompt_is_taken() -> None:
    def message(
        name: str, parent: str | None, role: str, rank: int | None = None, lang: str = "en"
    ) -> dict[str, object]:
        return {
            "message_id": name, "parent_id": parent, "role": role, "rank": rank, "lang": lang, "text": f"text {name}",
            "deleted": False,
        }  # fmt: skip

    rows = [
        message("a1", "p", "assistant", 1),
        message("p", None, "prompter"),
        message("a0", "p", "assistant", 0),
        message("follow-up", "a0", "prompter"),
        message("deep", "follow-up", "assistant"),
        message("lonely", None, "prompter"),
        message("q", None, "prompter", lang="de"),
        message("b", "q", "assistant", lang="de"),
        message("r", None, "prompter"),
        message("only", "r", "assistant"),
    ]
    assert list(best_answers(rows)) == [
        {"id": "p", "document": "text p", "summary": "text a0"},
        {
            "id": "follow-up",
            "document": "User: text p\n\nAssistant: text a0\n\nUser: text follow-up",
            "summary": "text deep",
        },
        {"id": "r", "document": "text r", "summary": "text only"},
    ]
