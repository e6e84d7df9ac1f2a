"""Seconds to summaries: sumkit against transformers' own pipeline, cold, one by one, and in batches.

Run: python -m benchmarks.summarize_latency --run RUN --data dialogsum/dev.jsonl [--limit N] [--out DIR]

Both sides run the same model and adapter in the same precision on the same prompts, greedily, with the same limits
and stop tokens, in turn. `cold` is a new process from its start to its first printed summary. Needs the torch engine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, headline, median, time_in_turn, write_result
from benchmarks.scored_summaries import read_examples
from common.run.loaded_run import LoadedRun, load_run
from common.summarize.summarizer import Summarizer
from common.summarize.summary import SummaryOptions

BATCH = 8
COLD_PEER = """
import sys
from transformers import pipeline
from peft import PeftModel
base, adapter, prompt_file, dtype, new_tokens, *stops = sys.argv[1:]
pipe = pipeline("text-generation", model=base, dtype=dtype)
pipe.model = PeftModel.from_pretrained(pipe.model, adapter).merge_and_unload()
prompt = open(prompt_file, encoding="utf-8").read()
limits = dict(max_new_tokens=int(new_tokens), eos_token_id=[int(stop) for stop in stops], do_sample=False)
print(pipe(prompt, return_full_text=False, add_special_tokens=False, **limits)[0]["generated_text"])
"""


def main() -> None:
    """Time both sides, check that they write the same, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSONL with document and summary")
    parser.add_argument("--limit", type=int, default=16, help="documents")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    loaded = load_run(arguments.run, "cuda")
    documents = [example.document for example in read_examples(arguments.data, arguments.limit)]
    ours = Summarizer.from_loaded(loaded)
    options = SummaryOptions(long="truncate")
    prompts = prompt_texts(loaded, documents)
    theirs = peer(loaded)
    written = [summary.text for summary in ours.summarize(documents, options)]
    same = [mine == text for mine, text in zip(written, theirs(prompts, BATCH), strict=True)]
    rows: list[dict[str, Any]] = []
    for name, our_side, their_side in (
        ("one by one", lambda: [ours.summarize(text, options) for text in documents], lambda: theirs(prompts, 1)),
        ("all at once", lambda: ours.summarize(documents, options), lambda: theirs(prompts, BATCH)),
        ("cold", lambda: cold_ours(arguments.run, documents[0]), lambda: cold_peer(loaded, prompts[0])),
    ):
        seconds = time_in_turn({"sumkit": our_side, "transformers": their_side}, arguments.repeats)
        count = 1 if name == "cold" else len(documents)
        ours_each, theirs_each = (median(seconds[side]) / count for side in ("sumkit", "transformers"))
        rows.append(
            {
                "case": name,
                "documents": count,
                "sumkit_seconds_each": ours_each,
                "transformers_seconds_each": theirs_each,
                "ratio": theirs_each / ours_each,
                "seconds": seconds,
            }
        )
        print(f"{name:<12} sumkit {ours_each:.2f} s  transformers {theirs_each:.2f} s", flush=True)
    path = write_result(
        "summarize_latency",
        "python -m benchmarks.summarize_latency --run RUN --data dialogsum/dev.jsonl",
        rows,
        headline(
            "seconds per summary, all at once",
            rows[1]["sumkit_seconds_each"],
            rows[1]["transformers_seconds_each"],
            f"transformers' text-generation pipeline, batches of {BATCH}",
            lower_is_better=True,
        ),
        packages=("torch", "transformers", "peft"),
        notes=[
            f"{sum(same)} of {len(same)} summaries are equal word for word",
            f"model {loaded.config.model.model}, {loaded.engine.device.compute_dtype}, at most "
            f"{ours.spec.max_new_tokens} new tokens, threads: "
            f"{os.environ.get('OMP_NUM_THREADS', 'all')}",
            f"the machine was shared: load average {os.getloadavg()[0]:.1f} at the end",
        ],
        directory=arguments.out,
    )
    print(path)


def prompt_texts(loaded: LoadedRun, documents: Sequence[str]) -> list[str]:
    """The run's prompts as text, for a program that tokenizes itself."""
    form, spec = loaded.prompt_format, Summarizer.from_loaded(loaded).spec
    return [form.tokenizer.decode_all(prompt.tokens) for prompt in form.prompts(documents, spec.max_new_tokens)]


def peer(loaded: LoadedRun) -> Callable[[list[str], int], list[str]]:
    """transformers' pipeline over the base with the adapter merged: prompts and batch size to texts."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    dtype = getattr(torch, loaded.engine.device.compute_dtype)
    base = AutoModelForCausalLM.from_pretrained(loaded.model.directory, dtype=dtype)
    model = PeftModel.from_pretrained(base, str(loaded.run.adapter)).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(loaded.model.directory, padding_side="left")
    tokenizer.pad_token_id = loaded.tokenizer.pad_id
    pipe: Any = pipeline("text-generation", model=model, tokenizer=tokenizer)
    spec = Summarizer.from_loaded(loaded).spec

    def generate(prompts: list[str], batch_size: int) -> list[str]:
        answers = pipe(
            prompts,
            batch_size=batch_size,
            max_new_tokens=spec.max_new_tokens,
            do_sample=False,
            return_full_text=False,
            add_special_tokens=False,
            eos_token_id=list(spec.eos_ids),
        )
        return [str(answer[0]["generated_text"]).strip() for answer in answers]

    return generate


def cold_ours(run: Path, document: str) -> None:
    """`sumkit summarize` from its start to its end on one document."""
    command = "from common.cli.main import main; main()"
    call = [sys.executable, "-c", command, "summarize", "--run", str(run), "--engine", "cuda", "-"]
    subprocess.run(call, input=document, text=True, check=True, capture_output=True)


def cold_peer(loaded: LoadedRun, prompt: str) -> None:
    """The shortest script that does the same with transformers and peft."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompt.txt"
        file.write_text(prompt, encoding="utf-8")
        spec = Summarizer.from_loaded(loaded).spec
        dtype, limit = loaded.engine.device.compute_dtype, str(spec.max_new_tokens)
        arguments = [str(loaded.model.directory), str(loaded.run.adapter), str(file), dtype, limit]
        stops = [str(token) for token in spec.eos_ids]
        subprocess.run([sys.executable, "-c", COLD_PEER, *arguments, *stops], check=True, capture_output=True)


if __name__ == "__main__":
    main()
