"""docs/traps.md names the test of each trap; a test that was renamed or removed must not go on being promised."""

from __future__ import annotations

import re

import pytest

from tests.docs.place import ROOT

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "traps.md").read_text(encoding="utf-8"))


def test_every_row_names_a_test():
    rows = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8").splitlines()
    traps = [row for row in rows if row.startswith("| ") and not row.startswith("| trap")]
    assert traps
    assert [row for row in traps if "::test_" not in row] == []


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file, name):
    assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
