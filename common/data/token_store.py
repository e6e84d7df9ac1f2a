"""Encoded examples on disk, read through memory maps: a training set that need not fit in memory.

A store is a directory of parts, each written whole or not at all, so that an interrupted preparation goes on where it
stopped. Knows nothing of texts, templates or where the examples came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from common.errors import DataError
from common.files import write_atomically
from common.types import IGNORED_LABEL, EncodedExample

SMALL_VOCABULARY = 1 << 16  # ids below it take two bytes each
_ARRAYS = ("tokens", "trained", "bounds", "ids", "id_bounds")


@dataclass(frozen=True)
class Part:
    """Examples of one part as memory-mapped arrays: n examples, their tokens and ids laid end to end.

    trained            as long as `tokens`, 1 where a token is trained
    bounds, id_bounds  (n + 1,) where each example's tokens and the UTF-8 bytes of its id begin
    facts              what the writer wanted to remember of the part
    """

    tokens: np.ndarray
    trained: np.ndarray
    bounds: np.ndarray
    ids: np.ndarray
    id_bounds: np.ndarray
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def example(self, index: int) -> EncodedExample:
        """One example, copied out of the map."""
        place = slice(self.bounds[index], self.bounds[index + 1])
        tokens = self.tokens[place].astype(np.int32)
        labels = np.where(self.trained[place] == 1, tokens, np.int32(IGNORED_LABEL))
        name = self.ids[self.id_bounds[index] : self.id_bounds[index + 1]].tobytes().decode("utf-8")
        return EncodedExample(name, tokens, labels)


def part_path(directory: Path, number: int) -> Path:
    """Where the 0-based part `number` lies."""
    return directory / f"part-{number:06d}"


def write_part(
    directory: Path, number: int, examples: Sequence[EncodedExample], vocab_size: int, facts: Mapping[str, Any]
) -> None:
    """Write a part atomically."""
    names = [example.id.encode("utf-8", "replace") for example in examples]
    dtype = np.uint16 if vocab_size <= SMALL_VOCABULARY else np.int32
    arrays = {
        "tokens": np.concatenate([np.empty(0, dtype), *(example.tokens.astype(dtype) for example in examples)]),
        "trained": np.concatenate([np.empty(0, np.uint8), *(_trained(example) for example in examples)]),
        "bounds": np.cumsum([0, *map(len, examples)], dtype=np.int64),
        "ids": np.frombuffer(b"".join(names), np.uint8),
        "id_bounds": np.cumsum([0, *map(len, names)], dtype=np.int64),
    }

    def write(aside: Path) -> None:
        aside.mkdir()
        for name, array in arrays.items():
            np.save(aside / f"{name}.npy", array)
        (aside / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    write_atomically(part_path(directory, number), write, sum(array.nbytes for array in arrays.values()))


def _trained(example: EncodedExample) -> np.ndarray:
    return (example.labels != IGNORED_LABEL).astype(np.uint8)


def read_part(directory: Path, number: int) -> Part | None:
    """A part, None where it was not written. Raises DataError when its files are damaged."""
    path = part_path(directory, number)
    if not path.is_dir():
        return None
    try:
        # an empty array cannot be mapped
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode=_mode(path / f"{name}.npy")) for name in _ARRAYS}
        facts = json.loads((path / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: prepared data is damaged ({error}); delete {directory} to make it again") from None
    return Part(**arrays, facts=facts)


def _mode(path: Path) -> Any:
    header_only = 128  # NumPy's format pads the header of a small array to 128 bytes
    return "r" if path.stat().st_size > header_only else None


class TokenStore(Sequence[EncodedExample]):
    """All parts of a store as one sequence of examples, in the order in which they were written.

    lengths  (examples,) int64, tokens of each: ordering and batching need not open an example for that
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *map(len, self.parts)])
        self.lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(part.bounds) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedExample]: ...
    def __getitem__(self, index: int | slice) -> EncodedExample | list[EncodedExample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[part].example(index - int(self._starts[part]))

    def __iter__(self) -> Iterator[EncodedExample]:
        return (part.example(index) for part in self.parts for index in range(len(part)))
