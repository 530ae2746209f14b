"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from edgecomp.cli import app
from edgecomp.target import list_targets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part(name: str, file: str = "README.md") -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]


@pytest.mark.parametrize("name", ["precisions", "executions", "targets"])
def test_generated_tables_are_up_to_date(name: str) -> None:
    file, make = generator().PARTS[name]
    assert part(name, file) == make()


def test_every_target_is_in_the_table() -> None:
    assert all(f"`{name}`" in part("targets", "docs/targets.md") for name in list_targets())


def test_the_measured_tables_are_there() -> None:
    for name in ("demo", "lite0"):
        assert "model.tflite" in part(name)
        assert "model.mnn" in part(name)
        assert "model.onnx" in part(name)


def test_every_command_is_described() -> None:
    commands = {command.name for command in app.registered_commands}
    assert commands <= set(re.findall(r"[|,] `edgecomp (\w+)", README))


def test_every_folder_of_the_map_exists() -> None:
    folders = re.findall(r"`([\w/]+/)`", README.partition("## What is where")[2])
    assert len(folders) > 8
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_features_name_tests_that_exist() -> None:
    features = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/.]+)`", features))
    assert named
    assert all((ROOT / path).exists() for path in named), named


def test_nothing_names_a_path_of_this_machine() -> None:
    here = re.compile(re.escape(str(ROOT.parent)) + "/")
    for pattern in (
        "*.md",
        "*.toml",
        "*.txt",
        "edgecomp/**/*.py",
        "converters/**/*.py",
        "tests/**/*.py",
        "docs/**/*.py",
        "docs/*.md",
    ):
        for path in ROOT.glob(pattern):
            assert not here.search(path.read_text(encoding="utf-8")), path
