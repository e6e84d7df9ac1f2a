"""The prompt as other programs make it from text is the prompt of training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from common.data.prompts import BUILT_IN, PromptFormat, Template
from common.errors import ModelError
from common.export.prompt_text import PromptText, jinja_template, ollama_template, prompt_text
from common.export.to_ollama import modelfile
from common.model.tokenizer import load_tokenizer
from tests.tiny_models import build_tiny_tokenizer

AWKWARD = PromptText(
    before='It\'s {{ .Prompt }} "x"\\n\t{% if %}\nText: ', after="\n\n{{end}} 'Summary':", bos="", stop=()
)
DOCUMENT = "A {{ bos_token }} in a text\nis text.  "


def _render(template: str, document: str, bos: str = "") -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as transformers renders
    return environment.from_string(template).render(
        messages=[{"role": "system", "content": "ignored"}, {"role": "user", "content": document}], bos_token=bos
    )


def test_the_chat_template_puts_the_prompt_around_the_users_message() -> None:
    assert _render(jinja_template(AWKWARD), DOCUMENT) == AWKWARD.filled(DOCUMENT)
    assert AWKWARD.filled(DOCUMENT) == AWKWARD.before + "A {{ bos_token }} in a text\nis text." + AWKWARD.after


def test_the_beginning_of_text_token_is_written_once_where_the_model_has_one() -> None:
    with_bos = PromptText("Text: ", "\n:", "<s>", ())
    assert _render(jinja_template(with_bos), "x", bos="<s>") == "<s>Text: x\n:"
    assert ollama_template(with_bos) == "Text: {{ .Prompt }}\n:"  # llama.cpp adds it by the file's own setting


def _fill_go_template(template: str, document: str) -> str:
    """What Go's text/template does with the two actions that our templates hold."""
    return template.replace('{{ "{{" }}', "\0").replace("{{ .Prompt }}", document).replace("\0", "{{")


def test_the_ollama_template_gives_the_prompt_and_braces_stay_text() -> None:
    template = ollama_template(AWKWARD)
    assert template.count("{{ .Prompt }}") == 1
    assert _fill_go_template(template, "the document") == AWKWARD.filled("the document")
    with pytest.raises(ModelError, match="cannot be written into an Ollama Modelfile"):
        ollama_template(PromptText('"""', "", "", ()))


@pytest.mark.parametrize("name", [name for name, template in BUILT_IN.items() if not template.chat])
def test_built_in_templates_as_text_are_the_tokens_of_training(tmp_path: Path, name: str) -> None:
    tokenizer = load_tokenizer(build_tiny_tokenizer(tmp_path))
    form = PromptFormat(BUILT_IN[name], tokenizer)
    text = prompt_text(form)
    document = "the release is late"
    prompt = form.prompts([document], 16)[0].tokens
    assert tokenizer.decode_all(prompt) == text.filled(document)
    assert text.stop == ("<|endoftext|>",)


def test_a_chat_prompt_keeps_the_models_control_tokens_and_stops_at_both_ends(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_tiny_tokenizer(tmp_path, chat=True))
    form = PromptFormat(Template("mine", "Short, please:\n\n{document}", chat=True, join=""), tokenizer)
    text = prompt_text(form)
    assert text.before == "<|im_start|>user\nShort, please:\n\n"
    assert text.after == "<|im_end|>\n<|im_start|>assistant\n"
    assert text.stop == ("<|im_end|>",)
    assert tuple(tokenizer.encode_markup(text.filled("late"))) == form.prompts(["late"], 16)[0].tokens


def test_the_modelfile_names_file_template_stops_and_context() -> None:
    source = SimpleNamespace(
        base_name="owner/base",
        prompt=PromptText("<|user|>\n", "<|bot|>\n", "", ("<|end|>", "</s>")),
        form=SimpleNamespace(max_length=1000),
        config=SimpleNamespace(generation=SimpleNamespace(max_new_tokens=40)),
        model=SimpleNamespace(shape=SimpleNamespace(context_tokens=8192)),
        run=SimpleNamespace(path=Path("runs/My Notes")),
    )
    text = modelfile(source, SimpleNamespace(gguf_type="q8_0"))  # type: ignore[arg-type]
    assert text.splitlines()[1:] == [
        "FROM ./My-Notes-q8_0.gguf",
        'TEMPLATE """<|user|>',
        "{{ .Prompt }}<|bot|>",
        '"""',
        'PARAMETER stop "<|end|>"',
        'PARAMETER stop "</s>"',
        "PARAMETER temperature 0",
        "PARAMETER num_ctx 1280",  # 1000 + 40, rounded up to whole multiples of 256
        "PARAMETER num_predict 40",
    ]
