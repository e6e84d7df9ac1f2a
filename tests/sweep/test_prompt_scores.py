"""`sumkit prompts --score`: templates zero-shot and tuned on the same documents."""

import json

import pytest
from click.testing import CliRunner

from common.cli.main import group, run
from tests.journey.conftest import rows
from tests.tiny_runs import build_tiny_base, build_tiny_run


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The command's JSON on a tiny model: two templates, chat (which a base model has not), and one run."""
    directory = tmp_path_factory.mktemp("prompts")
    model = build_tiny_base(directory / "model")
    tuned = build_tiny_run(directory / "run", model, template="article")
    (directory / "dev.jsonl").write_text("\n".join(json.dumps(row) for row in rows(5)) + "\n")
    (directory / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows(5, 50)) + "\n")
    arguments = ["prompts", "--score", "--data", directory, "--model", model, "--template", "direct", "--template",
                 "article", "--template", "chat", "--tuned", tuned, "--quantize", "none", "--max-length", "160",
                 "--max-new-tokens", "8", "--limit", "4"]  # fmt: skip
    answer = CliRunner().invoke(group, [*map(str, arguments), "--json"])
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout), answer.stderr, tuned


def test_every_usable_template_has_a_row_with_intervals_and_its_overhead(scored):
    results, said, tuned = scored
    assert results["documents"] == 4
    by_name = {(row["template"], row["run"]): row for row in results["templates"]}
    assert set(by_name) == {("direct", None), ("article", None), ("article", str(tuned))}
    assert "template chat is left out" in said
    untuned, with_adapter = by_name["article", None], by_name["article", str(tuned)]
    assert untuned["overhead_tokens"] == with_adapter["overhead_tokens"] > by_name["direct", None]["overhead_tokens"]
    assert untuned["mean_prompt_tokens"] > untuned["overhead_tokens"]
    for row in results["templates"]:
        assert row["rouge1"]["low"] <= row["rouge1"]["mean"] <= row["rouge1"]["high"]
        assert sum(row["stop_reasons"].values()) == 4


def test_differences_are_from_the_best_zero_shot_template(scored):
    results, _, _ = scored
    zero = {row["template"]: row for row in results["templates"] if row["run"] is None}
    best = zero.pop(results["best_zero_shot"])
    assert best["against_best_zero_shot"] is None
    for row in zero.values():
        assert row["against_best_zero_shot"]["mean"] == pytest.approx(row["rouge1"]["mean"] - best["rouge1"]["mean"])


def test_scoring_flags_without_score_are_wrong_usage(capsys):
    assert run(group, ["prompts", "--data", "demo"]) == 2
    assert "add --score" in capsys.readouterr().err
    assert run(group, ["prompts", "--score"]) == 2
    assert "needs --data" in capsys.readouterr().err
