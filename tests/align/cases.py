"""What preference training is compared with: the plain computation over whole logits, with autograd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.engine import Engine
from common.model.adapter import write_adapter
from tests.contract.cases import LORA


class Peft:
    """The same model and adapter in transformers and PEFT, with the formula written out."""

    def __init__(self, engine: Engine, model_dir: Path, directory: Path) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        write_adapter(directory, engine.adapter(), LORA, str(model_dir))
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        self.model: Any = PeftModel.from_pretrained(base, str(directory), is_trainable=True).eval()

    def log_probability(self, tokens: Sequence[int], targets: int) -> Any:
        """Of the last `targets` tokens together, nats."""
        return self.token_log_probabilities(tokens, targets).sum()

    def token_log_probabilities(self, tokens: Sequence[int], targets: int) -> Any:
        """Of each of the last `targets` tokens, (targets,) nats."""
        import torch

        ids = torch.tensor([list(map(int, tokens))])
        logp = torch.log_softmax(self.model(ids).logits[0, :-1], -1)
        return logp.gather(1, ids[0, 1:, None])[-targets:, 0]

    def gradients(self) -> dict[str, np.ndarray]:
        return {
            name.replace(".default", ""): parameter.grad.numpy()
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
