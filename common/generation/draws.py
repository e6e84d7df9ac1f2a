"""The random numbers of sampling: a stream for each prompt, so that its text does not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class PromptDraws:
    """For each prompt the numbers in [0, 1) at which its next tokens' distributions are inverted."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[int, np.random.Generator] = {}

    def next(self, prompts: Sequence[int]) -> NDArray[np.float32]:
        """The next number of each of these prompts, named by their indices: (B, 1), below 1 in float32 too."""
        for index in prompts:
            if index not in self._streams:
                self._streams[index] = np.random.Generator(np.random.PCG64([self._seed, index]))
        return np.array([[self._streams[index].random(dtype=np.float32)] for index in prompts], np.float32)
