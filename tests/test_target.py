from __future__ import annotations

import dataclasses
import importlib.resources
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from edgecomp.errors import SourceError, UnknownTargetError
from edgecomp.target import Cluster, KnownBad, Memory, list_targets, load_target

BOARD = """\
schema = 1
name = "my-board"
title = "My board"
kind = "single-board computer"
aliases = ["mine"]

[cpu]
architecture = "arm64"
features = ["neon", "dotprod"]
simd_channels = 16
[[cpu.clusters]]
core = "Cortex-A76"
count = 2
[[cpu.clusters]]
core = "Cortex-A55"
count = 4
max_mhz = 1800

[memory]
variants_mib = [2048, 4096]
bandwidth_gb_per_s = 17

[runtimes.tflite]
package = "ai-edge-litert"
version = "2.3.0"
wheel = true
[[runtimes.tflite.known_bad]]
version = "2.2.0"
reason = "It crashes."
source = "issue 1"

[precisions]
int8 = "compute"
fp16 = "memory"

[defaults]
precision = "int8"
formats = ["tflite"]
threads = 2

[[sources]]
facts = ["cpu.features", "memory"]
title = "Datasheet"
locator = "DS-1"
"""
MEMORY = "[memory]\nvariants_mib = [2048, 4096]\nbandwidth_gb_per_s = 17\n"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    file = tmp_path / "my-board.toml"
    file.write_text(BOARD)
    return file


def edited(board: Path, old: str, new: str) -> Path:
    text = board.read_text()
    assert old in text
    board.write_text(text.replace(old, new, 1))
    return board


def test_a_users_own_file_is_read_field_for_field(board: Path) -> None:
    profile = load_target(board)

    assert (profile.name, profile.kind, profile.aliases, profile.soc) == (
        "my-board",
        "single-board computer",
        ("mine",),
        None,
    )
    assert profile.cpu.features == frozenset({"neon", "dotprod"})
    assert profile.cpu.clusters == (Cluster("Cortex-A76", 2), Cluster("Cortex-A55", 4, max_mhz=1800))
    assert profile.memory == Memory((2048, 4096), 17)
    assert profile.runtimes["tflite"].known_bad == (KnownBad("2.2.0", "It crashes.", "issue 1"),)
    assert profile.defaults.formats == ("tflite",)
    assert load_target(str(board)) == profile


def test_a_profile_cannot_be_changed(board: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_target(board).name = "other"  # type: ignore[misc]


def test_cores_are_counted_over_the_clusters_and_unknown_for_a_generic_target(board: Path) -> None:
    assert load_target(board).cpu.cores == 6
    assert load_target("generic-arm64").cpu.cores is None


def test_only_a_precision_that_saves_instructions_accelerates(board: Path) -> None:
    profile = load_target(board)

    assert [precision for precision in ("int8", "fp16", "fp32") if profile.accelerates(precision)] == ["int8"]


def test_as_dict_is_plain_data_that_says_what_the_file_says(board: Path) -> None:
    profile = load_target(board)
    plain = json.loads(json.dumps(profile.as_dict()))

    again = board.with_name("again.toml")
    again.write_text(tomli_w.dumps(plain))
    assert load_target(again) == profile
    assert plain["cpu"]["features"] == ["dotprod", "neon"]
    assert plain["cpu"]["clusters"][0] == {"core": "Cortex-A76", "count": 2}
    assert not {"soc", "notes"} & plain.keys()


def test_facts_are_the_fields_that_need_a_source(board: Path) -> None:
    assert load_target(board).facts() == (
        "cpu.architecture",
        "cpu.features",
        "cpu.simd_channels",
        "cpu.clusters",
        "runtimes.tflite",
        "precisions.int8",
        "precisions.fp16",
        "memory.variants_mib",
        "memory.bandwidth_gb_per_s",
    )


@pytest.mark.parametrize(
    ("fact", "found"),
    [("cpu.features", True), ("memory", True), ("memory.variants_mib", True), ("cpu", False), ("cpu.clusters", False)],
)
def test_a_source_covers_a_fact_by_its_name_or_its_tables(board: Path, fact: str, found: bool) -> None:
    assert bool(load_target(board).sources_of(fact)) is found


@pytest.mark.parametrize("name", ["raspberry-pi-4b", "Raspberry Pi 4B", "RPI4", "rpi_4", " rpi-4 ", "raspberrypi4"])
def test_names_and_aliases_are_found_however_they_are_spelt(name: str) -> None:
    assert load_target(name).name == "raspberry-pi-4b"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("rasberry-pi-4", "raspberry-pi-4b"), ("pixel-9", "pixel-8"), ("iphone-16", "iphone-15")],
)
def test_a_misspelt_name_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        load_target(name)

    assert caught.value.subject == f"target '{name}'"
    assert caught.value.expected == "a target's name or alias, or the path to a .toml profile"
    assert caught.value.actual.startswith("no target has that name; the nearest are: ")
    assert nearest in caught.value.actual
    assert "edgecomp targets" in caught.value.cure


def test_a_name_far_from_all_others_is_an_error_without_guesses() -> None:
    with pytest.raises(UnknownTargetError) as caught:
        load_target("qqqqqqqq")

    assert caught.value.actual == "no target has that name"


@pytest.mark.parametrize(
    ("old", "new", "expected", "actual"),
    [
        ('name = "my-board"\n', "", "a key name", "it is missing"),
        ("schema = 1\n", "", "a key schema", "it is missing"),
        ('architecture = "arm64"\n', "", "a key cpu.architecture", "it is missing"),
        ('source = "issue 1"\n', "", "a key runtimes.tflite.known_bad[0].source", "it is missing"),
        ('"My board"', "7", "title: a string", "7"),
        ("wheel = true", "wheel = 1", "runtimes.tflite.wheel: true or false", "1"),
        ("count = 2", "count = true", "cpu.clusters[0].count: a whole number above 0", "True"),
        ("count = 2", "count = 0", "cpu.clusters[0].count: a whole number above 0", "0"),
        ("max_mhz = 1800", "max_mhz = 1.8", "cpu.clusters[1].max_mhz: a whole number above 0", "1.8"),
        ("_s = 17", "_s = -1.5", "memory.bandwidth_gb_per_s: a number above 0", "-1.5"),
        ('["mine"]', '"mine"', "aliases: a list", "'mine'"),
        ("[2048, 4096]", '[2048, "4 GB"]', "memory.variants_mib[1]: a whole number above 0", "'4 GB'"),
        (MEMORY, "[[memory]]\n", "a table [memory]", "[{}]"),
        ('"arm64"', '"arm"', "cpu.architecture: one of arm64, armv7, x86_64", "'arm'"),
        ('int8 = "compute"', 'int8 = "fast"', "precisions.int8: one of compute, memory", "'fast'"),
        ('"dotprod"]', '"dotpord"]', "cpu.features[1]: one of neon, fp16, dotprod, ", "'dotpord'"),
        ("fp16 = ", "int2 = ", "precisions: one of fp32, fp16, int8, ", "'int2'"),
        ("max_mhz", "mhz", "the keys cpu.clusters[1].core, ", "unknown key cpu.clusters[1].mhz"),
        ("title =", "titel =", "the keys schema, name, title, ", "unknown key titel"),
        ("schema = 1", "schema = 2", "schema: up to 1", "2"),
        ('["tflite"]', '["tflite", "mnn"]', "defaults.formats: some of those in runtimes, tflite", "mnn"),
        ("[cpu]", "[cpu", "TOML in UTF-8", "Expected ']'"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_field(
    board: Path, old: str, new: str, expected: str, actual: str
) -> None:
    with pytest.raises(SourceError) as caught:
        load_target(edited(board, old, new))

    assert caught.value.subject == f"target profile {board}"
    assert caught.value.expected.startswith(expected)
    assert caught.value.actual.startswith(actual)
    assert caught.value.cure


@pytest.mark.parametrize(
    ("old", "new", "cure"),
    [
        ('name = "my-board"\n', "", "add it"),
        ("schema = 1", "schema = 2", "update edgecomp"),
        ("wheel = true", "wheel = 1", "correct it; `edgecomp/target.py` documents the grammar"),
    ],
)
def test_the_cure_fits_the_problem(board: Path, old: str, new: str, cure: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_target(edited(board, old, new))

    assert caught.value.cure == cure


def test_a_newer_schema_is_reported_before_its_unknown_keys(board: Path) -> None:
    with pytest.raises(SourceError, match="schema: up to 1"):
        load_target(edited(board, "schema = 1", "schema = 2\nnovelty = true"))


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        load_target(str(tmp_path / "none.toml"))

    assert caught.value.expected == "a readable file"
    assert caught.value.actual == "No such file or directory"


def test_a_file_that_is_not_text_is_an_error(board: Path) -> None:
    board.write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="TOML in UTF-8"):
        load_target(board)


@pytest.mark.parametrize("package", ["edgecomp.no_such_folder", "edgecomp.cli"])
def test_an_unfinished_install_says_what_to_run(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    # Either the folder is not mapped into the package, or its data files were left out.
    files = importlib.resources.files
    monkeypatch.setattr(importlib.resources, "files", lambda _: files(package))

    with pytest.raises(SourceError, match=r"pip install -e \.") as caught:
        list_targets()
    assert caught.value.actual == "edgecomp is not fully installed: no profile was found"


def test_the_list_is_sorted_and_canonical() -> None:
    names = list_targets()

    assert list(names) == sorted(names)
    assert all(load_target(name).name == name for name in names)


def test_importing_it_is_lean() -> None:
    script = "import sys, edgecomp.target; print(sorted({'torch', 'numpy', 'onnx', 'onnx_ir'} & sys.modules.keys()))"

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
