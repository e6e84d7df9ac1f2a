"""The run's prompt as text, for programs that put the document into it themselves: Jinja and Ollama templates.

A finished export takes a document as the user's message; its template adds what training had around it. Knows
nothing of token ids.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.data.prompts import PromptFormat
from common.errors import ModelError


@dataclass(frozen=True)
class PromptText:
    """Text before and after the document, without the beginning-of-text token.

    bos   that token's text where prompts begin with it, else empty
    stop  texts of the tokens at which a summary ends
    """

    before: str
    after: str
    bos: str
    stop: tuple[str, ...]

    def filled(self, document: str) -> str:
        """The prompt as text, without the beginning-of-text token."""
        return self.before + document.strip() + self.after


def prompt_text(form: PromptFormat) -> PromptText:
    """The text of a run's prompt."""
    before, after = form.markup
    tokenizer = form.tokenizer
    bos = tokenizer.decode_all(tokenizer.bos_ids) if tokenizer.bos_ids else ""
    return PromptText(
        before=before.removeprefix(bos) if bos else before,
        after=after,
        bos=bos,
        stop=tuple(tokenizer.decode_all([i]) for i in form.eos_ids),
    )


def jinja_template(prompt: PromptText) -> str:
    """A chat template that makes the training prompt of each user message; other roles are left out."""
    message = f"{{{{ {_literal(prompt.before)} + (message['content'] | trim) + {_literal(prompt.after)} }}}}"
    bos = "{{ bos_token }}" if prompt.bos else ""
    return (
        f"{bos}{{% for message in messages %}}{{% if message['role'] == 'user' %}}{message}{{% endif %}}{{% endfor %}}"
    )


def _literal(text: str) -> str:
    """A Jinja string literal."""
    for character, escape in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return f"'{text}'"


def ollama_template(prompt: PromptText) -> str:
    """The prompt as a Go template, the document being `.Prompt`. (Ollama adds the beginning-of-text token itself.)

    Raises ModelError for a template with three double quotes in a row, which end a Modelfile's text.
    """
    before, after = (text.replace("{{", '{{ "{{" }}') for text in (prompt.before, prompt.after))
    if '"""' in before + after:
        raise ModelError('the prompt template holds """, which cannot be written into an Ollama Modelfile')
    return f"{before}{{{{ .Prompt }}}}{after}"
