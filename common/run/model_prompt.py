"""A model's prompt as a run's settings ask for it: the same for training and for every later use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from common.data.prompts import PromptFormat, Template, automatic_template, find_template
from common.model.models import LocalModel, resolve_model
from common.model.tokenizer import TextTokenizer, load_tokenizer
from common.settings import RunConfig


@dataclass(frozen=True)
class ModelPrompt:
    """A model's files, its tokenizer, and the template of its prompt. No weights are loaded."""

    config: RunConfig
    model: LocalModel
    tokenizer: TextTokenizer
    template: Template

    @cached_property
    def form(self) -> PromptFormat:
        """The prompt under `template`. Raises ModelError where the model cannot use that."""
        return self.under(self.template)

    def under(self, template: Template) -> PromptFormat:
        """The prompt with the same lengths under another template."""
        return prompt_format(self.config, template, self.tokenizer, self.model.shape.context_tokens)


def open_prompt(config: RunConfig, template: Template | None = None, conversations: bool = False) -> ModelPrompt:
    """The prompt that the settings describe, under `template` where that is given.

    A template named `auto` is the one for the kind of model, and of data (`conversations`). Raises ModelError or
    ConfigError with the remedy.
    """
    model = resolve_model(config.model.model)
    tokenizer = load_tokenizer(model.directory, config.lora.added_tokens)
    if template is None:
        name = config.prompt.template
        automatic = automatic_template(tokenizer, config.model.model, conversations)
        template = find_template(automatic if name == "auto" else name)
    return ModelPrompt(config, model, tokenizer, template)


def prompt_format(
    config: RunConfig, template: Template, tokenizer: TextTokenizer, context_tokens: int = 0
) -> PromptFormat:
    """A template bound to a tokenizer and the settings' lengths, which the model's context bounds."""
    prompt = config.prompt
    max_length = min(prompt.max_length, context_tokens) if context_tokens else prompt.max_length
    return PromptFormat(
        template,
        tokenizer,
        max_length=max_length,
        max_document_tokens=prompt.max_document_tokens,
        max_summary_tokens=prompt.max_summary_tokens,
        max_words=prompt.max_words,
        truncation=prompt.truncation,
        model_name=config.model.model,
        context_tokens=context_tokens,
    )
