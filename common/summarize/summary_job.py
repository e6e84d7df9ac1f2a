"""One call of a summarizer: texts cleaned, fitted into prompts, generated together, streamed and shortened.

Knows an engine and a prompt format, not where they come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from common.data.cleaning import clean_text
from common.data.prompts import PromptFormat
from common.engine import Engine, GenerationSpec
from common.progress import Progress
from common.summarize.faithful import BY_DEFAULT, TEMPERATURE, TOP_P, Supporting, check_one, most_supported
from common.summarize.long_documents import Fitted, fit_documents
from common.summarize.summary import Summary, SummaryOptions, shorten
from common.summarize.text_stream import TextStream
from common.types import Generation

OnText = Callable[[int, str], None]
OnDone = Callable[[int, Summary], None]


class SummaryJob:
    """The texts of one call; positions in reports are those of `texts`. See `Summarizer.summarize_all`."""

    def __init__(
        self,
        engine: Engine,
        form: PromptFormat,
        spec: GenerationSpec,
        texts: Sequence[str],
        options: SummaryOptions,
        on_text: OnText | None = None,
        on_done: OnDone | None = None,
        keep_going: Callable[[], None] | None = None,
        supporting: Supporting = BY_DEFAULT,
    ) -> None:
        self._engine = engine
        self._form = form
        self._options = options
        self._spec = dataclasses.replace(
            spec,
            max_new_tokens=form.most_new_tokens(options.max_new_tokens) or spec.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed or spec.seed,
            beams=1 if options.temperature else spec.beams,
        )
        self._texts = [clean_text(text) if isinstance(text, str) else "" for text in texts]
        self._on_text = on_text
        self._on_done = on_done
        self._keep_going = keep_going
        self._supporting = supporting
        self._prompt_tokens = [0] * len(texts)  # spent on the parts of long documents, by position
        self._tokens = [0] * len(texts)
        self._results: dict[int, Summary] = {}

    def run(self) -> list[Summary]:
        """Generate everything; summaries in the order of the texts."""
        for index, text in enumerate(self._texts):
            if not text:
                self._finish(index, Summary("", "error", error="the document holds no text"))
        indices = [index for index, text in enumerate(self._texts) if text]
        fitted = self._fit(indices)
        prompts = self._form.prompts([item.text for item in fitted], self._spec.max_new_tokens)
        streams = [TextStream(self._stable_text) for _ in indices]

        def on_token(place: int, token: int) -> None:
            self._check()
            # A word limit or a check may take back a whole sentence: such a summary is shown when it is complete.
            if self._on_text is not None and not (self._options.max_words or self._options.faithful):
                self._show(indices[place], streams[place].push(token))

        def on_done(place: int, generation: Generation) -> None:
            index = indices[place]
            summary = self._summary(index, fitted[place], generation, prompts[place].cut_tokens)
            if self._options.faithful:
                summary = self._most_supported(index, summary, drawn[place :: len(prompts)])
            elif self._options.evidence:
                checked = check_one(self._texts[index], summary.text, self._supporting)
                summary = dataclasses.replace(summary, sentences=checked.sentences)
            self._show(indices[place], streams[place].finish(summary.text))
            self._finish(indices[place], summary)

        for index, prompt in zip(indices, prompts, strict=True):
            self._prompt_tokens[index] += len(prompt.tokens)
        given = [prompt.tokens for prompt in prompts]
        drawn = self._draw(given)
        self._engine.generate(given, self._spec, on_done, on_token)
        return [self._results[index] for index in range(len(self._texts))]

    def _draw(self, prompts: list[tuple[int, ...]]) -> list[Generation]:
        """Further summaries of each prompt where the best supported one is to be given: prompt p's at p, p + n, …"""
        count = self._options.faithful - 1
        if count < 1:
            return []
        spec = dataclasses.replace(self._spec, temperature=TEMPERATURE, top_p=TOP_P, beams=1)
        return self._engine.generate(prompts * count, spec, None, lambda place, token: self._check())

    def _most_supported(self, index: int, summary: Summary, drawn: Sequence[Generation]) -> Summary:
        if not any((summary.text, *(generation.tokens for generation in drawn))):
            return summary  # nothing was generated: the reason is told
        options = self._options
        others = [self._form.tokenizer.decode(generation.tokens) for generation in drawn]
        candidates = [summary.text, *(shorten(text, options.sentences, options.max_words) for text in others)]
        chosen = most_supported(self._texts[index], candidates, self._supporting)
        stops = [summary.stop_reason, *(generation.stop_reason for generation in drawn)]
        return dataclasses.replace(
            summary,
            text=chosen.text,
            stop_reason=stops[chosen.place],
            tokens=summary.tokens + sum(len(generation.tokens) for generation in drawn),
            candidates=tuple(candidates),
            sentences=chosen.checked.sentences,
            dropped=chosen.dropped,
            from_document=chosen.from_document,
        )

    def _fit(self, indices: list[int]) -> list[Fitted]:
        """The texts as they go into their prompts; parts of long ones are summarized on the way."""
        room = self._form.document_room(self._form.reserved(self._spec.max_new_tokens))

        def count(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in self._form.tokenizer.encode_texts(texts)]

        def summarize(parts: dict[int, list[str]]) -> dict[int, list[str]]:
            return self._summarize_parts(parts, indices)

        return fit_documents([self._texts[index] for index in indices], self._options.long, room, count, summarize)

    def _summarize_parts(self, parts: dict[int, list[str]], indices: list[int]) -> dict[int, list[str]]:
        """Summaries of parts, those of all documents generated together."""
        owners = [place for place, group in parts.items() for _ in group]
        prompts = self._form.prompts([part for group in parts.values() for part in group], self._spec.max_new_tokens)
        with Progress(len(prompts), "parts", at_once=self._spec.max_batch_rows) as progress:

            def on_done(place: int, generation: Generation) -> None:
                if self._keep_going is None:  # else somebody else watches, a server say
                    progress.advance()

            generations = self._engine.generate(
                [prompt.tokens for prompt in prompts], self._spec, on_done, lambda place, token: self._check()
            )
        summaries: dict[int, list[str]] = {place: [] for place in parts}
        for place, prompt, generation in zip(owners, prompts, generations, strict=True):
            self._prompt_tokens[indices[place]] += len(prompt.tokens)
            self._tokens[indices[place]] += len(generation.tokens)
            summaries[place].append(self._form.tokenizer.decode(generation.tokens))
        return summaries

    def _summary(self, index: int, fitted: Fitted, generation: Generation, cut_tokens: int) -> Summary:
        text = self._form.tokenizer.decode(generation.tokens)
        error = generation.error
        if fitted.failed_parts and not error:
            error = f"{fitted.failed_parts} parts of the document gave no summary"
        return Summary(
            text=shorten(text, self._options.sentences, self._options.max_words),
            stop_reason=generation.stop_reason,
            prompt_tokens=self._prompt_tokens[index],
            tokens=self._tokens[index] + len(generation.tokens),
            unread_tokens=fitted.unread_tokens + cut_tokens,
            parts=fitted.parts,
            error=error,
        )

    def _stable_text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens` that will stay: where sentences are counted, the last word may still change them."""
        text = self._form.tokenizer.decode(tokens)
        if not self._options.sentences:
            return text
        whole = text[: max(text.rfind(" "), text.rfind("\n"), 0)].rstrip()
        return shorten(whole, self._options.sentences)

    def _check(self) -> None:
        if self._keep_going is not None:
            self._keep_going()

    def _show(self, index: int, piece: str) -> None:
        if piece and self._on_text is not None:
            self._on_text(index, piece)

    def _finish(self, index: int, summary: Summary) -> None:
        self._results[index] = summary
        if self._on_done is not None:
            self._on_done(index, summary)
