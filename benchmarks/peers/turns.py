"""What a benchmark and a side that stays loaded say to each other: a line in begins a turn, a marked line out ends it.

Sides that load for a minute and measure for seconds are started together and take turns in any order. Standard
library only: peers' environments import it too.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MARK = "@turn "


def wait_for_turn() -> None:
    """Say that this side is ready, and return when the benchmark gives it its turn; SystemExit where it does not."""
    tell({"ready": True})
    if not sys.stdin.readline():
        raise SystemExit(0)


def tell(result: dict[str, Any]) -> None:
    """Hand a result to the benchmark; what libraries print on stdout stands on lines of its own."""
    print(f"\n{MARK}{json.dumps(result)}", flush=True)
