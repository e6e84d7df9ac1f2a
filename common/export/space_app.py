"""A summarizer's web page for a free CPU: paste a document, watch the summary being written.

This file is copied into a Hugging Face Space as app.py, beside summarizer.json and a GGUF file, and needs nothing of
sumkit there. The document is tokenized as plain text and put between the prompt's own token ids, as in training.
"""

import json
import os
import unicodedata
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Summarizer:
    """llama.cpp's server in this process, reached over the loopback address, and the prompt around a document."""

    def __init__(self, directory: Path) -> None:
        import xllamacpp

        self.settings: dict[str, Any] = json.loads((directory / "summarizer.json").read_text(encoding="utf-8"))
        params = xllamacpp.CommonParams()
        params.model.path = str(directory / self.settings["file"])
        params.n_ctx = self.settings["context_tokens"]
        params.n_parallel = 1
        params.cpuparams.n_threads = os.cpu_count() or 1
        params.verbosity = -1
        self._server = xllamacpp.Server(params)

    def prompt(self, document: str) -> list[int]:
        """Token ids of the prompt; a document that is too long loses its end."""
        text = unicodedata.normalize("NFC", document).strip()
        answer = json.load(self._post("/tokenize", {"content": text, "parse_special": False, "add_special": False}))
        kept = answer["tokens"][: self.settings["max_document_tokens"]]
        return [*self.settings["tokens_before"], *kept, *self.settings["tokens_after"]]

    def summarize(self, document: str) -> Iterator[str]:
        """The summary so far, growing until it is complete."""
        if not document.strip():
            yield "Paste a text first."
            return
        request = {
            "prompt": self.prompt(document),
            "n_predict": self.settings["max_new_tokens"],
            "temperature": 0.0,
            "stream": True,
        }
        written = ""
        with self._post("/completion", request) as stream:
            for line in stream:
                if line.startswith(b"data: {"):
                    written += json.loads(line[len(b"data: ") :]).get("content", "")
                    yield written.strip()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        address = self._server.listening_address + path
        headers = {"Content-Type": "application/json"}
        return urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode("utf-8"), headers))


def build_page(summarizer: Summarizer) -> Any:
    """The Gradio page; its API name is `summarize`."""
    import gradio

    return gradio.Interface(
        fn=summarizer.summarize,
        inputs=gradio.Textbox(lines=14, label="Document", placeholder="Paste a text here"),
        outputs=gradio.Textbox(lines=4, label="Summary"),
        title=summarizer.settings["title"],
        description=summarizer.settings["description"],
        api_name="summarize",
        flagging_mode="never",
    )


if __name__ == "__main__":
    build_page(Summarizer(HERE)).queue(default_concurrency_limit=1, max_size=20).launch()
