from __future__ import annotations

from tests.journey.conftest import tiny_config, tiny_data, tiny_model

__all__ = ["tiny_config", "tiny_data", "tiny_model"]
