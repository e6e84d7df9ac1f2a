"""A loaded run summarizes as it did when it was evaluated, alone or in company, whole or in pieces."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import CheckpointError, ConfigError, DataError
from common.evaluation.evaluate import generate_predictions
from common.model.architecture import read_shape
from common.summarize.summarizer import Summarizer
from common.summarize.summary import Summary, SummaryOptions
from common.types import Example
from tests.tiny_runs import MAX_LENGTH, NEW_TOKENS

Load = Callable[[str], Summarizer]
ENGINES = ("cuda", "mlx")
TEXTS = [
    "The council voted on Monday to close the old bridge for repairs.",
    "Engineers said that the work would cost four million. Traffic goes over the ring road.",
    "She wrote to the team that the release is late.",
]
LONG = "\n\n".join(
    f"On day {number} the council met the team. They said that {number} homes lost power." for number in range(12)
)


@pytest.mark.parametrize("engine", ENGINES)
def test_summaries_are_those_of_evaluation_and_do_not_depend_on_company(load: Load, engine: str) -> None:
    summarizer = load(engine)
    examples = [Example(str(number), text, "x") for number, text in enumerate(TEXTS)]
    predictions = generate_predictions(summarizer.engine, summarizer.prompt_format, examples, summarizer.spec, "test")
    together = summarizer.summarize(TEXTS)
    assert [summary.text for summary in together] == [prediction.text for prediction in predictions]
    assert together == [summarizer.summarize(text) for text in TEXTS]
    assert len({summary.text for summary in together}) == len(TEXTS)
    assert all(summary.tokens <= NEW_TOKENS and summary.prompt_tokens > 10 for summary in together)


@pytest.mark.parametrize("engine", ENGINES)
def test_pieces_joined_are_the_summary_also_of_long_documents(load: Load, engine: str) -> None:
    summarizer = load(engine)
    pieces: dict[int, list[str]] = defaultdict(list)
    done: dict[int, Summary] = {}
    summaries = summarizer.summarize_all(
        [*TEXTS, LONG, "  "],
        SummaryOptions(),
        lambda index, piece: pieces[index].append(piece),
        lambda index, summary: done.setdefault(index, summary),
    )
    assert [done[index] for index in range(5)] == summaries
    assert ["".join(pieces[index]) for index in range(5)] == [summary.text for summary in summaries]
    assert len(pieces[0]) > 3, "text comes in pieces, not at once"


@pytest.mark.parametrize("engine", ENGINES)
def test_long_documents_are_read_whole_by_map_reduce_and_in_part_by_the_others(load: Load, engine: str) -> None:
    summarizer = load(engine)
    cut, parts, key = (summarizer.summarize(LONG, long=method) for method in ("truncate", "map-reduce", "two-stage"))
    assert cut.unread_tokens > 100
    assert cut.parts == ()
    assert parts.unread_tokens == 0
    assert len(parts.parts) >= 2
    assert parts.prompt_tokens > MAX_LENGTH, "tokens of every part are counted"
    assert key.unread_tokens > 100
    assert all(sentence in LONG for sentence in key.parts)


def test_the_untuned_model_is_another_one_and_the_run_is_itself_again_after_it(load: Load) -> None:
    summarizer = load("cuda")
    before = summarizer.summarize(TEXTS)
    untuned = Summarizer("untuned", summarizer.engine, summarizer.prompt_format, summarizer.spec, adapted=False)
    assert untuned.summarize(TEXTS) != before
    assert summarizer.summarize(TEXTS) == before


def test_zero_shot_is_the_untuned_model(load: Load, tiny_base: Path) -> None:
    tuned = load("cuda")
    untuned = Summarizer("untuned", tuned.engine, tuned.prompt_format, tuned.spec, adapted=False)
    zero_shot = Summarizer.load(model=str(tiny_base), engine="cuda", quantize="none")
    assert "zero-shot" in zero_shot.name
    options = SummaryOptions(max_new_tokens=8)
    assert [s.text for s in zero_shot.summarize(TEXTS, options)] == [s.text for s in untuned.summarize(TEXTS, options)]


def test_limits_shorten_and_are_told_to_a_template_that_asks_for_words(tiny_runs: list[Path], load: Load) -> None:
    summarizer = load("cuda")
    assert summarizer.prompt_format.with_max_words(5) is summarizer.prompt_format
    asking = Summarizer.load(tiny_runs[0], engine="cuda", template="limit")
    few = asking.prompt_format.with_max_words(5)
    text = few.tokenizer.decode_all(few.prompts([TEXTS[0]], 8)[0].tokens)
    assert "at most 5 words" in text
    assert "at most 30 words" in asking.prompt_format.tokenizer.decode_all(
        asking.prompt_format.prompts([""], 8)[0].tokens
    )
    free = asking.summarize(TEXTS[0], max_words=1, max_new_tokens=3)
    assert len(free.text.split()) <= 1
    assert free.tokens <= 3


def test_texts_without_words_are_errors_of_their_own(load: Load) -> None:
    first, empty, number = load("cuda").summarize([TEXTS[0], " \n", None])  # type: ignore[list-item]
    assert first == load("cuda").summarize(TEXTS[0])
    for summary in (empty, number):
        assert (summary.text, summary.stop_reason, summary.error) == ("", "error", "the document holds no text")


def test_work_ends_when_nobody_wants_it_and_the_next_call_is_unharmed(load: Load) -> None:
    summarizer = load("cuda")
    before = summarizer.summarize(TEXTS)
    calls = []

    def enough() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        summarizer.summarize_all([LONG], SummaryOptions(), keep_going=enough)
    assert summarizer.summarize(TEXTS) == before


def test_it_drops_into_datasets_map_and_pandas(load: Load) -> None:
    import datasets
    import pandas

    summarizer = load("cuda")
    expected = [summary.text for summary in summarizer.summarize(TEXTS)]
    table = pandas.DataFrame({"article": TEXTS, "id": [1, 2, 3]})
    data = datasets.Dataset.from_pandas(table)
    assert data.map(summarizer, batched=True, batch_size=2)["summary"][:] == expected
    assert data.map(summarizer)["summary"][:] == expected
    assert table["article"].map(summarizer).tolist() == expected
    assert table.assign(summary=lambda rows: summarizer(rows["article"]))["summary"].tolist() == expected
    with pytest.raises(DataError, match="give one column"):
        summarizer(table)
    with pytest.raises(DataError, match="id, other is a document; rename one to document"):
        summarizer({"id": 1, "other": "x"})


def test_it_is_pickled_as_what_to_load(load: Load) -> None:
    summarizer = load("cuda")
    again = pickle.loads(pickle.dumps(summarizer))
    assert again.summarize(TEXTS) == summarizer.summarize(TEXTS)
    assert len(pickle.dumps(summarizer)) < 2000


def test_what_cannot_be_loaded_says_so(tmp_path: Path, load: Load) -> None:
    with pytest.raises(CheckpointError, match="is not a run directory"):
        Summarizer.load(tmp_path)
    with pytest.raises(DataError, match="either a run directory or model="):
        Summarizer.load()
    with pytest.raises(ConfigError, match=r"template 'poem' is unknown\nchoose from"):
        load("cuda").__class__.load(load("cuda")._origin[0][1], engine="cuda", template="poem")  # type: ignore[index]


def test_importing_the_package_imports_nothing_heavy_until_the_summarizer_is_asked_for() -> None:
    program = (
        "import sys, common; assert 'numpy' not in sys.modules and 'common.summarize.summarizer' not in sys.modules; "
        "from common import Summarizer; assert Summarizer.load; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_more_tokens_are_generated_than_the_context_holds(load: Load, tiny_base: Path) -> None:
    summarizer = load("cuda")
    form, context = summarizer.prompt_format, read_shape(tiny_base).context_tokens
    assert form.context_tokens == context
    longest = form.most_new_tokens(10 * context)
    assert form.most_new_tokens(longest - 1) == longest - 1
    never_ends = dataclasses.replace(summarizer.spec, eos_ids=())
    endless = Summarizer("endless", summarizer.engine, form, never_ends)
    for text in (TEXTS[0], LONG):
        summary = endless.summarize(text, max_new_tokens=10 * context)
        assert (summary.stop_reason, summary.tokens) == ("length", longest)
        assert summary.prompt_tokens + longest <= context
