"""A tiny real model behind llama.cpp's server, with a proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.servers import FaultyProxy, LlamaServer, build_answering_model, faulty_proxy


@pytest.fixture(scope="session")
def answering_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_answering_model(tmp_path_factory.mktemp("answering"))


@pytest.fixture(scope="session")
def llama(answering_model: Path) -> LlamaServer:
    return LlamaServer(answering_model)


@pytest.fixture
def proxy(llama: LlamaServer) -> Iterator[FaultyProxy]:
    with faulty_proxy(llama.url) as running:
        yield running
