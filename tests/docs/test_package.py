"""The package: it builds, and its wheel works in an environment that holds nothing else."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from common.version import VERSION
from tests.docs.place import ROOT, environment, put_hub_models


def tracked(*below: str) -> list[str]:
    """Paths of the files that belong to the repository."""
    listed = subprocess.run(["git", "ls-files", *below], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: a build leaves folders beside its source that a later one would pack."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory, source]
    built = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = directory.glob("sumkit-*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == set(tracked("sumkit", "common", "mlx_sum", "cuda_sum"))
    assert {f"{package}/py.typed" for package in ("sumkit", "common", "mlx_sum", "cuda_sum")} <= packed
    assert wheel.name.startswith(f"sumkit-{VERSION}-")


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment_checks_plans_and_trains(wheel, tmp_path):
    """What a newcomer does, with the pinned versions; the torch that they pin for Linux is the small CPU one."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(part) for part in install], env=outside, check=True)
    put_hub_models(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    variables = dict(environment(tmp_path, with_models=True))
    del variables["PYTHONPATH"]
    variables["PATH"] = f"{venv / 'bin'}:{os.environ['PATH']}"

    def sumkit(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    assert "This machine can train." in sumkit("sumkit doctor")
    assert json.loads(sumkit("sumkit budget --flops 1e18 --json"))["estimates"]
    assert "Examples:" in sumkit("python -m cuda_sum.train --help")
    flags = "--steps 2 --limit-train 8 --limit-dev 2 --test-limit 2 --max-length 320 --max-new-tokens 8"
    summary = sumkit(
        f"sumkit train --data demo --model qwen2.5-0.5b --run runs/tiny --base-template same {flags} --json"
    )
    assert json.loads(summary)["steps"] == 2
    assert (work / "runs/tiny/report.html").is_file()
    assert "sumkit, version" in sumkit("sumkit --version")


def test_every_dependency_has_its_reason_in_the_docs():
    """Each requirement of pyproject.toml, extras included, is named on the page of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = {requirement_name(item) for item in project["dependencies"]}
    assert len(names) > 15
    for name in names:
        assert name in text, name
    for extra, items in project["optional-dependencies"].items():
        assert f"`{extra}`" in text, extra
        for name in map(requirement_name, items):
            assert extra == "dev" or name in text, name


def requirement_name(requirement: str) -> str:
    """`mlx` of `mlx[cpu]>=0.32; platform_system == 'Linux'`."""
    for end in "[><=;! ":
        requirement = requirement.partition(end)[0]
    return requirement


def test_citation_changelog_and_licence_go_with_the_version():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"].startswith("sumkit")
    assert citation["license"] == "Apache-2.0"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## Unreleased" in changelog or f"## {VERSION}" in changelog
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
