"""What an installation consists of, and what importing it costs."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import edgecomp

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = ("converters", "device_scripts", "targets")


def test_all_names_every_public_name() -> None:
    assert sorted(edgecomp.__all__) == edgecomp.__all__
    for name in edgecomp.__all__:
        assert getattr(edgecomp, name) is not None
    assert set(edgecomp.__all__) <= set(dir(edgecomp))
    with pytest.raises(AttributeError, match="nonsense"):
        edgecomp.nonsense  # noqa: B018


def test_a_public_name_survives_the_import_of_every_module() -> None:
    code = "import edgecomp.pipeline, edgecomp.cli, edgecomp; assert callable(edgecomp.compress)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_edgecomp_is_lean() -> None:
    code = (
        "import sys, edgecomp\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert', 'MNN', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def packages_on_disk() -> set[str]:
    found = set()
    for top in ("edgecomp", *MAPPED):
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found.add(".".join(parts if top == "edgecomp" else ("edgecomp", *parts)))
    return found


def test_the_list_of_packages_is_what_lies_on_disk() -> None:
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == packages_on_disk()


def test_the_wheel_holds_every_package_and_profile_and_no_test(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {"edgecomp", wheel.name.split("-py3")[0] + ".dist-info"}
    for top in ("edgecomp", *MAPPED):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in {".py", ".toml", ".typed"}:
                installed = path.relative_to(ROOT) if top == "edgecomp" else Path("edgecomp") / path.relative_to(ROOT)
                assert installed.as_posix() in names
    for path in (ROOT / "edgecomp" / "bundle").glob("platforms/*/templates/**/*"):
        assert path.is_dir() or path.relative_to(ROOT).as_posix() in names
    assert not [name for name in names if "tests/" in name or "/test_" in name]


#: Top-level packages that each folder may import besides the standard library.
ALLOWED = {
    "targets": set(),
    "device_scripts": {"numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime", "MNN"},
    "converters": {
        *("edgecomp", "numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ai_edge_litert", "flatbuffers"),
        *("MNN", "_tools"),
    },
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        outside = {name.partition(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        assert outside <= ALLOWED[folder], path


def test_edgecomp_reaches_converters_and_targets_by_name_only() -> None:
    for path in (ROOT / "edgecomp").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith(("edgecomp.converters", "edgecomp.targets", "edgecomp.device_scripts")), path


def test_modules_of_the_tests_have_names_of_their_own() -> None:
    # pytest imports them by these names: of two that are alike, it collects neither.
    counted = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in counted.items() if count > 1] == []


def test_no_file_is_longer_than_a_newcomer_can_read() -> None:
    # A user copies bench.py alone to a board, so it cannot be split.
    for top in ("edgecomp", *MAPPED, "tests"):
        for path in set((ROOT / top).rglob("*.py")) - {ROOT / "device_scripts" / "bench.py"}:
            assert len(path.read_text().splitlines()) <= 500, path
