"""LoRA (Hu et al. 2021) through peft's layers; linears.py computes with them in place of peft's own forward.

peft makes the layers and their names; here all matrices live in one flat float32 buffer (and their gradients in
another), so that norm, clipping, optimizer and sums over ranks are a few operations. Knows nothing of losses,
optimizers or model classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from common.engine import LoraSpec
from common.model.adapter import (
    adapted_linears,
    check_adapter,
    initial_adapter,
    lora_a_name,
    lora_b_name,
    magnitude_name,
)
from common.model.architecture import ModelShape
from common.model.token_rows import token_row_shapes
from cuda_sum.model import dense_weight
from cuda_sum.token_rows import TokenRows, start_rows

PEFT_ADAPTER = "default"


@dataclass
class LowRank:
    """The adapter's part of one linear layer. `a_now` (r, in) and `b_now` (out, r), which holds the scale, are what
    activations meet: copies in the compute dtype of the float32 parameters `a` and `b` that are trained.

    With DoRA (Liu et al. 2024), `m` (out,) are the trained lengths of the rows of W + scale * B A, whose own are
    `lengths` (out,), float32 and constants to the gradient (section 4.3 there); outputs are multiplied by `stretch`,
    m / lengths.
    """

    a: nn.Parameter
    b: nn.Parameter
    a_now: torch.Tensor
    b_now: torch.Tensor
    m: nn.Parameter | None = None
    lengths: torch.Tensor | None = None
    stretch: torch.Tensor | None = None

    @property
    def trained(self) -> list[nn.Parameter]:
        return [self.a, self.b] if self.m is None else [self.a, self.b, self.m]


@dataclass
class Adapter:
    """All adapter matrices of a model: A matrices in model order, then B matrices, DoRA's row lengths, and the rows of
    added tokens, in one buffer each.

    values     (P,) float32, what is trained; the parameters of peft's layers are views of it
    gradients  (P,) float32, their gradients
    now        (P,) in the compute dtype, with the scale in the B part
    """

    shape: ModelShape
    spec: LoraSpec
    values: torch.Tensor
    gradients: torch.Tensor
    now: torch.Tensor
    scaled_from: int
    bases: dict[str, nn.Module]
    layers: dict[str, LowRank] = field(default_factory=dict)
    tokens: TokenRows | None = None
    enabled: bool = True

    def enable(self, enabled: bool) -> None:
        """Switch on or off what the adapter adds, rows of added tokens included."""
        self.enabled = enabled
        if self.tokens is not None:
            self.tokens.enabled = enabled
            self.tokens.write()

    def refresh(self) -> None:
        """Bring what activations meet up to date with `values`."""
        self.now.copy_(self.values)
        self.now[self.scaled_from :] = (self.values[self.scaled_from :] * self.spec.scale).to(self.now.dtype)
        if self.tokens is not None:
            self.tokens.write()
        if self.spec.dora:
            with torch.no_grad():
                for path, layer in self.layers.items():
                    assert layer.m is not None
                    rows = dense_weight(self.bases[path], torch.float32)
                    layer.lengths = torch.linalg.vector_norm(rows + self.spec.scale * (layer.b @ layer.a), dim=1)
                    layer.stretch = (layer.m / layer.lengths).to(self.now.dtype)

    def weights(self) -> dict[str, np.ndarray]:
        """Float32 copies of the matrices by PEFT name."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._named().items()}

    def gradient_arrays(self) -> dict[str, np.ndarray]:
        """Float32 copies of the gradients by PEFT name."""
        return {name: tensor.grad.cpu().numpy().copy() for name, tensor in self._named().items()}  # type: ignore[union-attr]

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace all matrices. Raises AdapterError when names or shapes differ from the adapter's own."""
        check_adapter(weights, self.shape, self.spec)
        with torch.no_grad():
            for name, tensor in self._named().items():
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(weights[name], np.float32)))
        self.refresh()

    def _named(self) -> dict[str, nn.Parameter]:
        named = {}
        for path, layer in self.layers.items():
            named[lora_a_name(path)], named[lora_b_name(path)] = layer.a, layer.b
            if layer.m is not None:
                named[magnitude_name(path)] = layer.m
        return named | (self.tokens.rows if self.tokens is not None else {})


def attach_adapter(model: nn.Module, shape: ModelShape, spec: LoraSpec, dtype: torch.dtype) -> Adapter:
    """Put peft's LoRA layers into a frozen model in place, with the starting weights both engines share.

    Raises AdapterError for target modules that do not exist or may not be adapted.
    """
    linears = adapted_linears(shape, spec)
    start = initial_adapter(shape, spec)
    _inject(model, [linear.path for linear in linears], spec)
    model.requires_grad_(False)
    bases: dict[str, nn.Module] = {}
    for linear in linears:
        wrapped: Any = model.get_submodule(linear.path)
        bases[linear.path] = wrapped.base_layer
    names = [lora_a_name(linear.path) for linear in linears] + [lora_b_name(linear.path) for linear in linears]
    if spec.dora:
        for path, base in bases.items():
            lengths = torch.linalg.vector_norm(dense_weight(base, torch.float32), dim=1)
            start[magnitude_name(path)] = lengths.cpu().numpy()
        names += [magnitude_name(linear.path) for linear in linears]
    device = next(model.parameters()).device
    ids = torch.tensor(spec.token_ids, dtype=torch.int64, device=device)
    rows = token_row_shapes(shape, spec)
    if rows:
        start |= {name: value.cpu().numpy() for name, value in start_rows(model, ids, rows).items()}
        names += list(rows)
    size = sum(start[name].size for name in names)
    values, gradients = (torch.zeros(size, dtype=torch.float32, device=device) for _ in range(2))
    now = torch.zeros(size, dtype=dtype, device=device)
    views: dict[str, tuple[torch.Tensor, ...]] = {}
    offset = 0
    for name in names:
        length = start[name].size
        views[name] = tuple(part[offset : offset + length].view(start[name].shape) for part in (values, gradients, now))
        offset += length
    scaled_from = sum(start[lora_a_name(linear.path)].size for linear in linears)
    adapter = Adapter(shape, spec, values, gradients, now, scaled_from, bases)
    for linear in linears:
        module: Any = model.get_submodule(linear.path)
        matrices = []
        for holder, name in ((module.lora_A, lora_a_name(linear.path)), (module.lora_B, lora_b_name(linear.path))):
            value, gradient, current = views[name]
            parameter = holder[PEFT_ADAPTER].weight
            parameter.data, parameter.requires_grad = value, True
            parameter.grad = gradient
            matrices.append((parameter, current))
        (a, a_now), (b, b_now) = matrices
        m = None
        if spec.dora:
            value, gradient, _ = views[magnitude_name(linear.path)]
            m = nn.Parameter(value)
            m.grad = gradient
        adapter.layers[linear.path] = LowRank(a, b, a_now, b_now, m)
    if rows:
        parameters = {name: nn.Parameter(views[name][0]) for name in rows}
        for name, parameter in parameters.items():
            parameter.grad = views[name][1]
        adapter.tokens = TokenRows(model, ids, parameters)
    adapter.load(start)
    return adapter


def _inject(model: nn.Module, paths: list[str], spec: LoraSpec) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=paths,
        use_rslora=spec.rank_stabilised,
        init_lora_weights=False,
        bias="none",
    )
    with warnings.catch_warnings():  # of names that peft still uses and transformers has renamed
        warnings.simplefilter("ignore", FutureWarning)
        inject_adapter_in_model(config, model, adapter_name=PEFT_ADAPTER)
