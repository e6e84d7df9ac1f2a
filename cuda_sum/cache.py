"""Keys and values of texts of unlike length that are continued together. Knows token positions only.

No twin in the MLX engine, whose library has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class RowCache:
    """Keys and values of a batch whose rows end at different positions; what a transformers model calls its cache.

    Rows are free, or hold a text that is being continued; free ones go along in every pass and count for nothing.

    positions  (B,) where each row's next token goes, 0 in free rows
    running    (B,) 1 in rows with a text, 0 in free ones
    """

    def __init__(self, device: torch.device) -> None:
        self.positions = torch.zeros(0, dtype=torch.int64, device=device)
        self.running = torch.zeros(0, dtype=torch.int64, device=device)
        self.width = 0  # positions there is room for in a row
        self.shared = 0  # first positions that are the same in all rows, filled by the first pass
        self.longest = 0
        self._rows = torch.arange(0, device=device)
        self._filling: torch.Tensor | None = None  # rows that prompts are being read into
        self._beginning: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Rows, free ones included."""
        return len(self._rows)

    def resize(self, rows: Sequence[int], count: int, width: int) -> None:
        """Keep these rows, as the first ones, of `count` with `width` positions each; the others are free."""
        kept = self._index(rows)
        self.positions = _with_zeros(self.positions[kept], count)
        self.running = _with_zeros(self.running[kept], count)
        self._rows = torch.arange(count, device=kept.device)
        self.width = width
        for stored in (self._keys, self._values):
            for layer, old in enumerate(stored):
                if len(rows) == count and width <= old.shape[2]:
                    stored[layer] = old[:, :, :width][kept]
                else:
                    new = old.new_zeros(count, old.shape[1], width, old.shape[3])
                    new[: len(rows), :, : old.shape[2]] = old[:, :, :width][kept]
                    stored[layer] = new

    def fill(self, rows: Sequence[int], lengths: Sequence[int]) -> None:
        """Say which free rows the next pass reads prompts into, and how long the prompts are."""
        self._filling = self._index(rows)
        self.positions[self._filling] = torch.tensor(lengths, dtype=torch.int64, device=self.positions.device)
        self.running[self._filling] = 1

    def free(self, rows: Sequence[int]) -> None:
        """Let go of the texts in these rows."""
        index = self._index(rows)
        self.positions[index] = 0
        self.running[index] = 0

    def copy(self, sources: Sequence[int], rows: Sequence[int]) -> None:
        """Let free rows hold the texts of others."""
        source, target = self._index(sources), self._index(rows)
        for values in (self.positions, self.running, *self._keys, *self._values):
            values[target] = values[source]

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (B, kv heads, T, D): prompts behind what is shared, after `fill` (B is 1 for the shared beginning
        itself); otherwise one token for each row, or several for a single one. Returns what the new tokens attend to.
        """
        if self._filling is not None:
            return self._store_prompts(self._filling, key, value, layer)
        keys, values = self._keys[layer], self._values[layer]
        if len(self) == 1:
            keys[:, :, self.longest - key.shape[2] : self.longest] = key
            values[:, :, self.longest - key.shape[2] : self.longest] = value
        else:
            keys[self._rows, :, self.positions] = key[:, :, 0]
            values[self._rows, :, self.positions] = value[:, :, 0]
        return keys[:, :, : self.longest], values[:, :, : self.longest]

    def _store_prompts(
        self, rows: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not len(rows):
            self._beginning.append((key, value))
            return key, value
        if self.shared:
            first_key, first_value = (part.expand(len(rows), -1, -1, -1) for part in self._beginning[layer])
            key, value = torch.cat([first_key, key], 2), torch.cat([first_value, value], 2)
        for stored, new in ((self._keys, key), (self._values, value)):
            if len(stored) == layer:
                stored.append(new.new_zeros(len(self), new.shape[1], self.width, new.shape[3]))
            stored[layer][rows, :, : new.shape[2]] = new
            stored[layer][rows, :, new.shape[2] :] = 0  # what an earlier text left may not be finite
        return key, value

    def mask(self, new: int = 1) -> torch.Tensor:
        """(B, 1, new, S), True where a row has a key up to the token being added. Call once a step, first."""
        self._filling = None
        self.longest = int(self.positions.max()) + new
        columns = torch.arange(self.longest, device=self.positions.device)
        ends = self.positions[:, None] + torch.arange(new, device=self.positions.device)
        return (columns <= ends[..., None])[:, None]

    def _index(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self.positions.device)


def _with_zeros(values: torch.Tensor, count: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, count - len(values)))
