"""Long documents cut, summarized in parts, or reduced to key sentences: which gives the better summaries?

Run: python -m benchmarks.long_documents --run RUN --data xsum/test.jsonl [--limit N] [--out DIR]

On the longest tenth of the documents (by the model's tokens). Beside the three methods of `--long`, two references:
the whole document in one prompt, longer than those of training, as far as the model's context goes; and the lead.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from benchmarks.record import RESULTS, headline, write_result
from benchmarks.scored_summaries import line_of, read_examples, row_of, score
from common.metrics.baselines import lead
from common.run.loaded_run import LoadedRun, load_run
from common.run.model_prompt import prompt_format
from common.summarize.long_documents import METHODS
from common.summarize.summarizer import Summarizer
from common.summarize.summary import Summary, SummaryOptions
from common.types import Example

SHARE = 0.1


def main() -> None:
    """Summarize and score by each method, write the result and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSONL with document and summary")
    parser.add_argument("--limit", type=int, default=0, help="use at most this many of the long documents (0: all)")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    loaded = load_run(arguments.run, arguments.engine)
    examples = longest(read_examples(arguments.data), loaded)[: arguments.limit or None]
    documents = [example.document for example in examples]
    tuned, whole = Summarizer.from_loaded(loaded), whole_prompt(loaded)
    first = Summary("", "eos")
    rows = [row_of("lead-1", examples, [dataclasses.replace(first, text=text) for text in lead(documents, 1)], 0.0)]
    against = None
    for name, summarizer, options in (
        *((method, tuned, SummaryOptions(long=method)) for method in METHODS),
        ("whole in one prompt", whole, SummaryOptions(long="truncate")),
    ):
        began = time.process_time()
        summaries = summarizer.summarize(documents, options)
        seconds = time.process_time() - began
        rows.append(row_of(name, examples, summaries, seconds, against))
        against = against or score(examples, summaries)  # truncation comes first
        print(line_of(rows[-1]), flush=True)
    by_name = {row["system"]: row["rouge1"]["mean"] for row in rows}
    path = write_result(
        "long_documents",
        "python -m benchmarks.long_documents --run RUN --data xsum/test.jsonl"
        + (f" --limit {arguments.limit}" if arguments.limit else ""),
        rows,
        headline("ROUGE-1 on the longest tenth", by_name["map-reduce"], by_name["truncate"], "truncation"),
        packages=("torch", "mlx", "transformers"),
        notes=[*facts(loaded, examples), "seconds are processor time, all threads together"],
        directory=arguments.out,
    )
    print(path)


def longest(examples: list[Example], loaded: LoadedRun) -> list[Example]:
    """The longest tenth by tokens, longest first."""
    lengths = [len(ids) for ids in loaded.tokenizer.encode_texts([example.document for example in examples])]
    ranked = sorted(range(len(examples)), key=lambda index: -lengths[index])
    return [examples[index] for index in ranked[: max(1, round(SHARE * len(examples)))]]


def whole_prompt(loaded: LoadedRun) -> Summarizer:
    """The same run with prompts as long as the model's context."""
    context = loaded.model.shape.context_tokens
    prompt = dataclasses.replace(loaded.config.prompt, max_length=context, max_document_tokens=0)
    config = dataclasses.replace(loaded.config, prompt=prompt)
    form = prompt_format(config, loaded.template, loaded.tokenizer, context)
    usual = Summarizer.from_loaded(loaded)
    return Summarizer("whole", loaded.engine, form, usual.spec)


def facts(loaded: LoadedRun, examples: list[Example]) -> list[str]:
    """What the figures were measured with."""
    lengths = [len(ids) for ids in loaded.tokenizer.encode_texts([example.document for example in examples])]
    return [
        f"model {loaded.config.model.model}, trained on {Path(loaded.config.data.data).name} with prompts of at most "
        f"{loaded.config.prompt.max_length} tokens; template {loaded.template.name}",
        f"{len(examples)} documents of {min(lengths)} to {max(lengths)} tokens",
        "unsupported_claims: numbers, dates, names and quotes in a summary that its document does not hold, mean",
        "difference: paired, against truncation",
    ]


if __name__ == "__main__":
    main()
