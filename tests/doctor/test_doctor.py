"""What doctor finds on this machine, and how it judges machines that are not this one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from common.cli.main import group, run
from common.doctor import doctor, libraries
from common.doctor.libraries import check_library, check_pairs, check_versions, judge_mlx, judge_torch, version_key

T4 = {"gpu": "Tesla T4", "cuda": "12.4", "driver": "550.54", "capability": 7.5, "cpu_bf16": False, "bitsandbytes": "ok"}
NO_GPU = {"gpu": "", "cuda": None, "driver": "", "capability": 0.0, "cpu_bf16": False, "bitsandbytes": "ok"}


def levels(findings):
    return {finding.name: finding.level for finding in findings}


def test_this_machine_can_train_and_the_document_says_what_was_found(capsys):
    assert run(group, ["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["can_train"] is True
    assert answer["engine"] in ("mlx", "cuda")
    found = {finding["name"]: finding for finding in answer["findings"]}
    assert {"engine", "device", "libraries", "bfloat16", "import name", "python", "hub", "cache"} <= found.keys()
    assert found["import name"]["level"] == "ok"


def test_a_t4_is_told_that_bfloat16_is_emulated_whatever_torch_says():
    findings = judge_torch(T4, {"triton": "3.1"})
    assert levels(findings)["bfloat16"] == "warn"
    assert levels(findings)["triton"] == "warn"
    assert "emulation" in next(finding.detail for finding in findings if finding.name == "bfloat16")
    assert levels(judge_torch({**T4, "capability": 8.0}, {"triton": "3.1"})) == {
        "gpu": "ok",
        "bfloat16": "ok",
        "bitsandbytes": "ok",
    }


def test_a_driver_without_a_gpu_in_torch_is_a_failure_and_no_driver_is_not(monkeypatch):
    monkeypatch.setattr(libraries, "_nvidia_driver_present", lambda: True)
    (failure,) = [finding for finding in judge_torch(NO_GPU, {}) if finding.level == "fail"]
    assert "built without CUDA" in failure.detail
    assert "pytorch.org" in failure.remedy
    monkeypatch.setattr(libraries, "_nvidia_driver_present", lambda: False)
    assert "fail" not in levels(judge_torch(NO_GPU, {})).values()


def test_combinations_known_to_fail_are_named_with_their_remedy():
    (finding,) = check_pairs({"peft": "0.17.1", "transformers": "5.2.0"})
    assert finding.level == "fail"
    assert finding.remedy == "pip install --upgrade 'peft>=0.18'"
    assert check_pairs({"peft": "0.18.0", "transformers": "5.2.0"}) == []
    assert check_pairs({"peft": "0.17.1", "transformers": "4.57.1"}) == []
    assert levels(check_pairs({"bitsandbytes": "0.47.0", "CUDA": "13.0"})) == {"bitsandbytes": "fail"}


def test_versions_are_compared_by_number_and_untested_series_are_only_noted():
    assert version_key("2.13.0+cpu") > version_key("2.6")
    assert version_key("0.32.10") > version_key("0.32.9")
    found = levels(check_versions({"torch": "2.5.1", "mlx": "0.40.0", "mlx-lm": "0.32.2", "transformers": "5.24.3"}))
    assert found == {"libraries": "ok", "torch": "fail", "mlx": "warn"}
    assert levels(check_versions({"transformers": "5.25.0"}))["transformers"] == "warn"


def test_what_is_installed_by_default_is_what_was_tested():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    wanted += [Requirement(text) for extra in ("mlx", "cuda") for text in project["optional-dependencies"][extra]]
    named = {requirement.name for requirement in wanted}
    assert named >= {*libraries.OLDEST, *libraries.NEWEST}
    for requirement in wanted:
        oldest, newest = (table.get(requirement.name) for table in (libraries.OLDEST, libraries.NEWEST))
        bounds = {bound.operator: bound.version for bound in requirement.specifier}
        assert oldest is None or bounds[">="] == oldest, requirement
        if newest and requirement.name != "mlx":  # held by mlx-lm
            major, minor = newest.split(".")
            assert bounds["<"] == f"{major}.{int(minor) + 1}", requirement


def test_mlx_on_a_plain_cpu_is_slow_and_told_so():
    assert levels(judge_mlx({"metal": False, "gpu": False})) == {
        "metal": "warn",
        "bfloat16": "ok",
        "speed": "warn",
    }
    assert levels(judge_mlx({"metal": True, "gpu": True})) == {"bfloat16": "ok", "metal": "ok"}


def test_a_library_that_crashes_its_process_is_a_finding_not_a_crash(monkeypatch):
    monkeypatch.setattr(libraries, "_MLX_PROBE", "import os; os.abort()")
    (finding,) = check_library("mlx", {})
    assert finding.level == "fail"
    assert "does not work" in finding.detail
    monkeypatch.setattr(libraries, "_MLX_PROBE", "raise ImportError('libfoo.so is missing')")
    assert "libfoo.so is missing" in check_library("mlx", {})[0].detail


def test_a_foreign_common_package_is_a_failure(monkeypatch, tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "__init__.py").write_text("")
    spec = doctor.importlib.util.spec_from_file_location(
        "common", tmp_path / "common" / "__init__.py", submodule_search_locations=[str(tmp_path / "common")]
    )
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    finding = doctor.check_import_name()
    assert finding.level == "fail"
    assert str(tmp_path) in finding.detail


def test_a_machine_that_cannot_train_exits_1_and_prints_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr("common.engine.installed", lambda name: False)
    assert run(group, ["doctor"]) == 1
    said = capsys.readouterr().out
    assert "cannot train yet: 1 to mend" in said
    assert "pip install 'sumkit[" in said


def test_being_offline_by_choice_is_a_note(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (finding,) = doctor.check_hub()
    assert finding.level == "warn"
    assert "HF_HUB_OFFLINE" in finding.detail


def test_sizes_leave_links_out(tmp_path):
    (tmp_path / "blob").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    assert doctor.directory_bytes(tmp_path) == 100
    assert doctor.directory_bytes(tmp_path / "nowhere") == 0


def test_an_engine_that_does_not_exist_is_wrong_usage(capsys):
    assert run(group, ["doctor", "--engine", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


def test_little_room_is_noted_and_none_for_a_run_is_a_failure_with_its_remedy(monkeypatch):
    def with_free(count: int) -> dict[str, str]:
        usage = doctor.shutil.disk_usage("/")._replace(free=count)
        with monkeypatch.context() as patch:
            patch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
            findings = doctor.check_disk()
        assert all(finding.remedy for finding in findings if finding.level != "ok")
        return levels(findings)

    assert with_free(2**40) == {"disk for runs": "ok", "disk for models": "ok", "cache": "ok"}
    assert with_free(2**30) == {"disk for runs": "warn", "disk for models": "warn", "cache": "ok"}
    assert with_free(2**20) == {"disk for runs": "fail", "disk for models": "warn", "cache": "ok"}
