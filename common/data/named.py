"""Data sets by name: the embedded demo corpus, and sets on the Hugging Face Hub.

`datasets` is imported only when a Hub set is asked for. No code of a data set is ever run: a set that only exists
as a loading script is read from the Parquet copy that the Hub keeps of it, and HF_HUB_OFFLINE is respected. Knows
nothing of files on this machine, nor of what is done with the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

from common.data.conversations import best_answers
from common.data.read_jsonl import read_jsonl
from common.data.table import Table
from common.errors import DataError

Rows = Iterable[dict[str, Any]]
SPLITS_ON_HUB = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}
PARQUET_COPY = "refs/convert/parquet"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(:[\w.-]+)?$")


@dataclass(frozen=True)
class HubSet:
    """A data set on the Hub: repository, configuration, and how its rows are turned into pairs where they are not."""

    repository: str
    config: str = ""
    convert: Callable[[Rows], Rows] | None = None


HUB_SETS: dict[str, HubSet] = {
    "xsum": HubSet("EdinburghNLP/xsum"),
    "cnn_dailymail": HubSet("abisee/cnn_dailymail", "3.0.0"),
    "samsum": HubSet("knkarthick/samsum"),
    "dialogsum": HubSet("knkarthick/dialogsum"),
    "oasst1": HubSet("OpenAssistant/oasst1", convert=best_answers),
    "finetome": HubSet("mlabonne/FineTome-100k"),
}
NAMES = ("demo", *HUB_SETS)


def find_hub_set(name: str) -> HubSet | None:
    """The known set of that name, or any Hub id `owner/name`, with its configuration as `owner/name:config`."""
    if name in HUB_SETS:
        return HUB_SETS[name]
    if HUB_ID.match(name):
        repository, _, config = name.partition(":")
        return HubSet(repository, config)
    return None


def demo_tables(only: str = "") -> dict[str, Table]:
    """The embedded corpus: 180 train, 20 dev and 40 test texts; one split where `only` names it."""
    tables = {}
    for split in [only] if only else SPLITS_ON_HUB:
        with resources.as_file(resources.files("common.corpus").joinpath(f"{split}.jsonl")) as path:
            tables[split] = read_jsonl(path)
            tables[split].file = f"demo/{split}.jsonl"
    return tables


def hub_tables(name: str, chosen: HubSet, only: str = "") -> dict[str, Table]:
    """The splits of a Hub set (one where `only` names one that is there), downloaded once into the loader's cache.

    Raises DataError when the set is unknown, cannot be reached, needs a configuration, or holds no rows as files.
    """
    found = _load(name, chosen)
    there = {
        split: next(found[other] for other in names if other in found)
        for split, names in SPLITS_ON_HUB.items()
        if any(other in found for other in names)
    }
    if not there:
        raise DataError(f"data set {name}: has no split named train, validation or test, only {', '.join(found)}")
    chosen_splits = [only] if only in there else list(there)
    convert = chosen.convert or (lambda rows: rows)
    return {split: table_of(convert(there[split]), f"{name}/{split}") for split in chosen_splits}


def table_of(rows: Rows, label: str) -> Table:
    """Rows of a data set as a table, their places counted from 1."""
    table = Table(label)
    for number, row in enumerate(rows, 1):
        table.add(f"row {number}", dict(row))
    return table


def _load(name: str, chosen: HubSet) -> Any:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(f"data set {name}: the package datasets cannot be imported ({error}); install it") from None
    options = {"name": chosen.config} if chosen.config else {}
    with _only_the_cache_without_a_hub() as reachable:
        return _from_hub(name, chosen, load_dataset, options, reachable)


def _from_hub(name: str, chosen: HubSet, load_dataset: Any, options: dict[str, str], reachable: bool) -> Any:
    try:
        try:
            return load_dataset(chosen.repository, **options)
        except RuntimeError as error:
            if "script" not in str(error):
                raise
            return load_dataset(chosen.repository, revision=PARQUET_COPY, **options)
    except Exception as error:  # the loader raises dozens of kinds; each means that the set is not to be had
        raise DataError(_explain(name, chosen, error, reachable)) from None


@contextmanager
def _only_the_cache_without_a_hub() -> Iterator[bool]:
    """Whether the Hub can be reached. Where not, its clients look into their caches at once instead of retrying."""
    from common.model.models import hub_reachable

    if hub_reachable():
        yield True
        return
    import datasets
    import huggingface_hub.constants

    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield False
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before


def _explain(name: str, chosen: HubSet, error: Exception, reachable: bool) -> str:
    said = " ".join(str(error).split())
    if "onfig name is missing" in said:
        configs = re.search(r"\[[^\]]*\]", said)
        return (
            f"data set {name}: has several configurations {configs.group(0) if configs else ''}; "
            f"choose one as --data {chosen.repository}:CONFIG"
        )
    reason = f"{type(error).__name__}: {said[:160]}" if reachable else "it cannot be reached, and the cache has no copy"
    return (
        f"data set {name}: cannot be loaded from the Hub as {chosen.repository} ({reason})\n"
        "if the name is right: connect once so that it is cached (and unset HF_HUB_OFFLINE), or save it as "
        "train.jsonl in a directory on a machine with a network and give that directory as --data\n"
        f"if you meant a file or directory: there is none at {name}\n"
        f"without a network there is: demo; on the Hub: {', '.join(HUB_SETS)}, or any owner/name"
    )
