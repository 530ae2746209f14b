"""The Swift package: its text, since no Swift compiler is at hand. It has not been run."""

import re
from pathlib import Path

import pytest

from edgecomp.bundle.build import Bundle

PAIRS = {")": "(", "]": "[", "}": "{"}


@pytest.fixture(scope="module")
def sources(bundles: dict[str, Bundle]) -> dict[str, str]:
    folder = bundles["ios"].folder
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.swift")}


def test_every_file_is_there(sources: dict[str, str]) -> None:
    assert set(sources) == {
        *("Package.swift", "Bundle.swift", "Cats.swift", "LiteRtRuntime.swift", "OnnxRuntime.swift"),
        *("Processing.swift", "Resampling.swift", "SelfTest.swift"),
    }


def test_brackets_are_closed(sources: dict[str, str]) -> None:
    for name, text in sources.items():
        stack: list[str] = []
        bare = re.sub(r'//[^\n]*|"(\\\(.*?\)|\\.|[^"\\])*"', "", text)
        for letter in bare:
            if letter in PAIRS.values():
                stack.append(letter)
            elif letter in PAIRS:
                assert stack, name
                assert stack.pop() == PAIRS[letter], name
        assert not stack, name


def test_the_generated_class_is_what_it_was(bundles: dict[str, Bundle], sources: dict[str, str]) -> None:
    golden = (Path(__file__).parent / "golden" / "Cats.swift").read_text(encoding="utf-8")
    key = re.search(r'trustedKey = "([^"]+)"', sources["Cats.swift"])
    assert key is not None
    assert sources["Cats.swift"].replace(key[1], "KEY") == golden
    assert (bundles["ios"].folder / "Sources" / "Cats" / "Resources" / "bundle.json").is_file()
