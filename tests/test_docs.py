"""The documentation says what the code does."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edgecomp.cli import app
from edgecomp.target import list_targets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## What is where")[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    folders = re.findall(r"`([\w/]+/)`", MAP)
    assert len(folders) > 8
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_every_package_is_on_the_map() -> None:
    packages = {path.parent.name for path in (ROOT / "edgecomp").glob("*/__init__.py")}
    assert {name for name in packages if f"`edgecomp/{name}/`" not in MAP} == set()


def test_the_docstring_of_a_package_is_a_map_of_it() -> None:
    # Commands, and operators by what they do, speak for themselves: each file of these packages is found by its name.
    listed_by_name = {"cli", "contrib", "decompositions", "ops"}
    missing = set()
    for init in [*(ROOT / "edgecomp").glob("*/**/__init__.py"), *(ROOT / "converters").glob("*/**/__init__.py")]:
        modules = [path for path in init.parent.glob("*.py") if path != init]
        if modules and "platforms" not in init.parts and init.parent.name not in listed_by_name:
            words = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
            missing |= {str(path.relative_to(ROOT)) for path in modules if path.name not in words}
    top = (path for path in (ROOT / "edgecomp").glob("*.py") if not path.name.startswith("__"))
    missing |= {str(path.relative_to(ROOT)) for path in top if f"`{path.name}`" not in MAP}
    assert missing == set()


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    examples = [path.name for path in (ROOT / "examples").iterdir() if path.suffix in {".py", ".toml"}]
    assert [name for name in examples if f"({name})" not in listed] == []


def test_the_tour_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:edgecomp|converters|targets|device_scripts|tests)/[\w/.]*)`", text)
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []


def shell_lines(path: Path) -> Iterator[str]:
    """The commands that a page shows, each on one line and without its comment."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4,}(?:[A-Z_]+=\S+ +)?(edgecomp .+)$", text, re.MULTILINE):
        yield line.partition("  #")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_commands_have_the_options_that_pages_show(page: Path) -> None:
    commands = typer.main.get_command(app).commands
    for line in shell_lines(page):
        command, *words = line.split()[1:]
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in {*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("*/README.md")}:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, page


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
