"""Settings, templates, adapters and checkpoints with random damage: usable or one plain error, never anything else.

Data files are fuzzed in tests/data/test_hostile_files.py. The slow tests make 5,000 cases of each kind.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from common.cli.main import group, run
from common.config import read_config, write_yaml
from common.data.prompts import BUILT_IN, read_template, write_template
from common.errors import AdapterError, CheckpointError, ConfigError, SumkitError
from common.files import sha256_file
from common.model.adapter import WEIGHTS_NAME, read_adapter
from common.model.models import resolve_model
from common.run.checkpoint import MANIFEST, find_checkpoint, load_checkpoint
from common.run.directory import open_run
from common.train.training import train_run
from tests.data.test_hostile_files import mutated

VALUES = (None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**30, "", "x" * 300, "\x1b[31m", "\ud800", [], [1],
          {}, {"a": 1}, "1e3", "{document}", "auto", "4bit")  # fmt: skip


def random_structure(rng: random.Random, value: object) -> object:
    """The value with a few of its parts replaced, removed, renamed or nested."""
    if isinstance(value, dict):
        changed = {}
        for key, part in value.items():
            action = rng.random()
            if action < 0.04:
                continue
            name = rng.choice(("documnet", "", "r", "0")) if action < 0.06 else key
            changed[name] = random_structure(rng, part)
        return changed
    return rng.choice(VALUES) if rng.random() < 0.04 else value


def check(action: Callable[[], object], kinds: type | tuple, *named: str) -> bool:
    """True where the action worked. Fails on anything but an expected error that names one of `named`."""
    try:
        action()
    except kinds as error:
        message = str(error)
        assert any(name in message for name in named), message
        assert "Traceback" not in message
        return False
    return True


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model, tiny_data) -> Path:
    """A run with checkpoints, adapter, settings and template."""
    from common import config

    run = tmp_path_factory.mktemp("fuzz") / "run"
    flags = {"data": str(tiny_data), "model": str(tiny_model), "run": str(run), "max_length": 192, "rank": 1,
             "quantize": "none", "steps": 2, "save_every": 1, "eval_every": 2}  # fmt: skip
    train_run(config.resolve(config.from_flags(flags)), run, resume=False, requested_engine="cuda")
    return run


def fuzz_settings(folder: Path, trained: Path, cases: int, seed: int) -> int:
    rng, path, usable = random.Random(seed), folder / "settings.yaml", 0
    sound, values = (trained / "config.yaml").read_bytes(), yaml.safe_load((trained / "config.yaml").read_text())
    for _ in range(cases):
        if rng.random() < 0.5:
            path.write_bytes(mutated(rng, sound))
        else:
            text = json.dumps(random_structure(rng, values))
            path.write_text(text, encoding="utf-8")

        def action() -> None:
            config = read_config(path)
            write_yaml(config, folder / "again.yaml")
            assert read_config(folder / "again.yaml") == config or "nan" in (folder / "again.yaml").read_text()

        usable += check(action, ConfigError, path.name)
    return usable


def fuzz_templates(folder: Path, trained: Path, cases: int, seed: int) -> int:
    rng, path, usable = random.Random(seed), folder / "template.yaml", 0
    for _ in range(cases):
        template = rng.choice(sorted(BUILT_IN.values(), key=lambda item: item.name))
        write_template(template, path)
        if rng.random() < 0.7:
            path.write_bytes(mutated(rng, path.read_bytes()))
        else:
            path.write_text(json.dumps(random_structure(rng, yaml.safe_load(path.read_text()))), encoding="utf-8")

        def action() -> None:
            found = read_template(path)
            write_template(found, folder / "again.yaml")
            assert read_template(folder / "again.yaml") == found

        usable += check(action, ConfigError, path.name)
    return usable


def fuzz_adapters(folder: Path, trained: Path, cases: int, seed: int) -> int:
    rng, directory, usable = random.Random(seed), folder / "adapter", 0
    shutil.copytree(trained / "adapter", directory, dirs_exist_ok=True)
    sound = {path.name: path.read_bytes() for path in (trained / "adapter").iterdir()}
    config = json.loads(sound["adapter_config.json"])
    shape = resolve_model(read_config(trained / "config.yaml").model.model).shape
    for _ in range(cases):
        for name, content in sound.items():
            (directory / name).write_bytes(content)
        action = rng.randrange(3)
        if action == 0:
            (directory / "adapter_config.json").write_text(json.dumps(random_structure(rng, config)))
        elif action == 1:
            (directory / "adapter_config.json").write_bytes(mutated(rng, sound["adapter_config.json"]))
        else:
            weights = sound[WEIGHTS_NAME]
            header = 8 + int.from_bytes(weights[:8], "little")
            part = mutated(rng, weights[:header]) + weights[header:]
            (directory / WEIGHTS_NAME).write_bytes(part if rng.random() < 0.8 else mutated(rng, weights))
        usable += check(lambda: read_adapter(directory, shape), AdapterError, "adapter")
    return usable


def fuzz_checkpoints(folder: Path, trained: Path, cases: int, seed: int) -> int:
    """Damaged bytes (which the manifest must find), and damage with a manifest that was made to fit."""
    rng, copy, usable = random.Random(seed), folder / "checkpoints", 0
    sound = {path: path.read_bytes() for path in (trained / "checkpoints" / "step-2").rglob("*") if path.is_file()}
    shutil.copytree(trained / "checkpoints", copy, dirs_exist_ok=True)
    for _ in range(cases):
        path = rng.choice(sorted(sound))
        target = copy / path.relative_to(trained / "checkpoints")
        content = mutated(rng, sound[path])
        target.write_bytes(content)
        forged = rng.random() < 0.5 and path.name != MANIFEST
        if forged:
            manifest = json.loads((copy / "step-2" / MANIFEST).read_text())
            entry = manifest["files"][str(target.relative_to(copy / "step-2"))]
            entry |= {"bytes": len(content), "sha256": sha256_file(target)}
            (copy / "step-2" / MANIFEST).write_text(json.dumps(manifest))
        whole = check(lambda: load_checkpoint(copy / "step-2"), CheckpointError, "step-2")
        found, problems = find_checkpoint(copy)
        assert found is not None
        assert found.state.step == (2 if whole else 1) or forged
        assert bool(problems) != whole
        if not forged and path.name != MANIFEST:
            assert whole == (content == sound[path])
        usable += whole
        for restored in (path, trained / "checkpoints" / "step-2" / MANIFEST):
            (copy / restored.relative_to(trained / "checkpoints")).write_bytes(sound[restored])
    return usable


FUZZ = {
    "settings": fuzz_settings,
    "templates": fuzz_templates,
    "adapters": fuzz_adapters,
    "checkpoints": fuzz_checkpoints,
}


@pytest.mark.parametrize("kind", FUZZ)
def test_damaged_files_work_or_are_named(tmp_path, trained, kind):
    usable = FUZZ[kind](tmp_path, trained, 150, seed=1)
    assert 0 < usable < 150, "damage must be neither harmless nor always fatal"


@pytest.mark.slow
@pytest.mark.parametrize("kind", FUZZ)
def test_many_damaged_files_work_or_are_named(tmp_path, trained, kind):
    usable = FUZZ[kind](tmp_path, trained, 5_000, seed=2)
    print(f"{kind}: 5000 cases, {usable} usable, the others named in plain words")
    assert usable > 0


@pytest.mark.parametrize("name", ["config.yaml", "template.yaml"])
def test_a_run_with_a_damaged_file_is_opened_or_named(tmp_path, trained, name):
    rng = random.Random(3)
    copy = tmp_path / "run"
    copy.mkdir()
    for part in ("config.yaml", "template.yaml"):
        shutil.copy(trained / part, copy / part)
    for _ in range(40):
        (copy / name).write_bytes(mutated(rng, (trained / name).read_bytes()))
        check(lambda: open_run(copy), SumkitError, name)


def test_what_is_printed_about_settings_holds_no_control_characters(tmp_path, capfd):
    path = tmp_path / "settings.yaml"
    for text in ('"a\\e[31m": 1', 'training: "\\e[31m"', 'training: {"\\e[31m": 1}', 'data: {data: ["\\e[31m"]}'):
        path.write_text(text)
        assert run(group, ["train", "--config", str(path)]) == 1
        said = capfd.readouterr().err
        assert path.name in said
        assert not any(ord(c) < 32 and c != "\n" for c in said), said
