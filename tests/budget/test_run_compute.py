"""A run's compute in Chinchilla's terms."""

import pytest

from common.budget.chinchilla import estimates
from common.budget.run_compute import run_compute, run_compute_text


def test_a_run_is_set_beside_the_optimal_models_for_as_many_flops(monkeypatch):
    compute = run_compute(5e17, 2.0, 500_000_000, 40_000_000)
    assert compute["flops"] == 1e18
    assert compute["tokens_per_parameter"] == pytest.approx(0.08)
    assert [row["params"] for row in compute["optimal"]] == [row.params for row in estimates(flops=1e18)]
    monkeypatch.delenv("SUMKIT_VERBOSE", raising=False)
    assert "Chinchilla" not in run_compute_text(compute)
    monkeypatch.setenv("SUMKIT_VERBOSE", "1")
    said = run_compute_text(compute)
    assert "Chinchilla: as much compute would pre-train" in said
    assert "1.0e18 FLOPs on 40 M tokens" in said
    assert "0.08 for each of 500 M parameters" in said
