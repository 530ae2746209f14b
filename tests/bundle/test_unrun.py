"""Swift and Dart: no compiler of theirs is at hand, so that the text is held to the grammar. It has not been run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_dart
import tree_sitter_swift
from conftest import Made
from tree_sitter import Language, Node, Parser

from edgecomp.bundle.build import Bundle, make_bundle

GRAMMARS = {".swift": tree_sitter_swift.language(), ".dart": tree_sitter_dart.language()}
FILES = {
    "ios": {
        *("Package.swift", "Bundle.swift", "Cats.swift", "LiteRtRuntime.swift", "OnnxRuntime.swift"),
        *("Processing.swift", "Resampling.swift", "SelfTest.swift"),
    },
    "flutter": {
        *("bundle.dart", "cats_model.dart", "errors.dart", "litert.dart", "onnxruntime.dart"),
        *("pictures.dart", "processing.dart", "resampling.dart", "self_test.dart"),
    },
}


def sources(bundle: Bundle) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.folder.rglob("*") if path.suffix in GRAMMARS}


def errors(name: str, source: bytes) -> list[str]:
    """Where a text is none of its language."""
    tree = Parser(Language(GRAMMARS[Path(name).suffix])).parse(source)
    return [f"{name}:{node.start_point.row + 1}: {node.type}" for node in _wrong(tree.root_node)]


def _wrong(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from _wrong(child)


@pytest.mark.parametrize("platform", FILES)
def test_every_file_is_there_and_keeps_the_grammar(platform: str, bundles: dict[str, Bundle]) -> None:
    found = sources(bundles[platform])
    assert set(found) == FILES[platform]
    assert [error for name, source in found.items() for error in errors(name, source)] == []


@pytest.mark.parametrize("name", ["Bundle.swift", "bundle.dart"])
@pytest.mark.parametrize("token", ["}", ")", "="])
def test_the_grammar_notices_a_token_that_is_gone(name: str, token: str, bundles: dict[str, Bundle]) -> None:
    source = sources(bundles["ios" if name.endswith("swift") else "flutter"])[name].decode()
    place = source.rindex(token)
    assert errors(name, (source[:place] + source[place + 1 :]).encode())


@pytest.mark.parametrize(
    ("platform", "name", "constant"),
    [("ios", "Cats.swift", r'trustedKey = "([^"]+)"'), ("flutter", "cats_model.dart", r"trustedKey = '([^']+)'")],
)
def test_the_generated_file_is_what_it_was(platform: str, name: str, constant: str, bundles: dict[str, Bundle]) -> None:
    text = sources(bundles[platform])[name].decode()
    found = re.search(constant, text)
    assert found is not None
    golden = Path(__file__).parent / "golden" / name
    assert text.replace(found[1], "KEY") == golden.read_text(encoding="utf-8")


def test_resources_lie_where_the_package_looks_for_them(bundles: dict[str, Bundle]) -> None:
    assert (bundles["ios"].folder / "Sources" / "Cats" / "Resources" / "bundle.json").is_file()
    assert (bundles["flutter"].folder / "assets" / "bundle.json").is_file()
    assert "- assets/" in (bundles["flutter"].folder / "pubspec.yaml").read_text()


def test_flutter_takes_the_plugins_of_its_models_only(pictures: Path, tmp_path: Path) -> None:
    folder = make_bundle(pictures, "flutter", tmp_path / "out", name="cats", formats=["onnxruntime"]).folder
    for path in (path for path in folder.rglob("*") if path.suffix in {".dart", ".yaml", ".md"}):
        assert "lite" not in path.read_text(encoding="utf-8").lower(), path
    assert not (folder / "lib" / "litert.dart").exists()
    assert (folder / "lib" / "onnxruntime.dart").is_file()


def test_flutter_without_pictures_keeps_the_grammar(made: Made, tmp_path: Path) -> None:
    bundle = make_bundle(made.folder, "flutter", tmp_path / "out", name="plain")
    assert [error for name, source in sources(bundle).items() for error in errors(name, source)] == []
    assert bundle.document["processing"]["preprocessing"] is None


@pytest.mark.bundle
@pytest.mark.parametrize("platform", FILES)
def test_efficientnet_lite0(platform: str, lite0: Path, tmp_path: Path) -> None:
    bundle = make_bundle(lite0, platform, tmp_path / "out", name="cats")
    found = sources(bundle)
    assert set(found) == FILES[platform]
    assert [error for name, source in found.items() for error in errors(name, source)] == []


def test_swift_takes_no_name_from_foundation(bundles: dict[str, Bundle]) -> None:
    """An app that imports both could not say which of them it means, nor could the code that finds resources."""
    public = re.compile(r"^public (?:final )?(?:class|struct|enum|protocol) (\w+)", re.MULTILINE)
    declared = {name for source in sources(bundles["ios"]).values() for name in public.findall(source.decode())}
    assert {"ModelBundle", "Picture", "Tensor", "CatsModel"} <= declared
    assert not declared & {"Bundle", "Data", "URL", "Process", "Operation", "Thread", "Timer", "Scanner", "Unit"}
