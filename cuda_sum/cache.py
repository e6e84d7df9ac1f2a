"""Keys and values of texts of unlike length that are continued together. Knows token positions only.

No twin in the MLX engine, whose library has one.
"""

from __future__ import annotations

from typing import Any

import torch


class RowCache:
    """Keys and values of a batch whose rows end at different positions; what a transformers model calls its cache.

    positions  (B,) where each row's next token goes
    """

    def __init__(self, lengths: torch.Tensor, room: int) -> None:
        self.positions = lengths
        self.prefilled = slice(0, len(lengths))  # rows that are being prefilled
        self.shared = 0  # first positions that are filled in all rows already
        self.room = room  # most positions a row will have
        self.longest = int(lengths.max())
        self.rows = torch.arange(len(lengths), device=lengths.device)
        self.filled = False
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (B, kv heads, T, D): in the prefill the prompts behind what is shared (B is 1 for that itself), after
        it one token for each row, or several for a single one. Returns what the new tokens attend to.
        """
        if not self.filled:
            end = self.shared + key.shape[2]
            for stored, new in ((self.keys, key), (self.values, value)):
                if len(stored) == layer:
                    stored.append(new.new_zeros(len(self.rows), new.shape[1], self.room, new.shape[3]))
                stored[layer][self.prefilled, :, self.shared : end] = new
            if not self.shared:
                return key, value
            return self.keys[layer][self.prefilled, :, :end], self.values[layer][self.prefilled, :, :end]
        keys, values = self.keys[layer], self.values[layer]
        if len(self.rows) == 1:
            keys[:, :, self.longest - key.shape[2] : self.longest] = key
            values[:, :, self.longest - key.shape[2] : self.longest] = value
        else:
            keys[self.rows, :, self.positions] = key[:, :, 0]
            values[self.rows, :, self.positions] = value[:, :, 0]
        return keys[:, :, : self.longest], values[:, :, : self.longest]

    def mask(self, new: int = 1) -> torch.Tensor:
        """(B, 1, new, S), True where a row has a key up to the token being added. Call once a step, first."""
        self.filled = True
        self.longest = int(self.positions.max()) + new
        columns = torch.arange(self.longest, device=self.positions.device)
        ends = self.positions[:, None] + torch.arange(new, device=self.positions.device)
        return (columns <= ends[..., None])[:, None]

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all other rows; one that is named several times is there so often."""
        self.positions = self.positions[rows]
        self.rows = torch.arange(len(rows), device=rows.device)
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
