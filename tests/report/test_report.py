"""A report says what the manifest says, needs no other file, and lets no name become markup."""

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Made, Run, save_onnx
from onnx import helper

from edgecomp.errors import SourceError
from edgecomp.report.contents import WORDS, Contents
from edgecomp.report.page import page
from edgecomp.steps import STEPS

#: Elements that have no end.
VOID = {"meta", "br", "line", "rect"}
HOSTILE = '"><script>alert(1)</script>&{{7*7}}'


class Checker(HTMLParser):
    """Makes sure that every element ends where it should, and keeps what there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def changed(made: Made, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A copy of the result folder with another manifest."""

    def change(edit: Callable[[dict[str, Any]], None]) -> Path:
        folder = Path(shutil.copytree(made.folder, tmp_path / "copy"))
        content = json.loads((folder / "manifest.json").read_text())
        edit(content)
        (folder / "manifest.json").write_text(json.dumps(content))
        return folder

    return change


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [
        [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)] for row in rows
    ]


def test_the_command_writes_one_page_that_needs_nothing_else(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    answer = edgecomp("report", made.folder, "-o", tmp_path / "report.html", "--json")
    assert answer.exit_code == 0, answer.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads(answer.stdout) == {"page": str(tmp_path / "report.html"), "bytes": len(text.encode())}
    assert text == page(made.folder)
    assert not re.search(r"https?:|url\(|@import|file:|//", text)
    found = Checker(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object"}
    assert not found.attributes & {"src", "href", "onload"}
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture)


def test_its_figures_are_the_manifests(made: Made) -> None:
    text, verification = page(made.folder), made.document["verification"]
    rows = {row[0]: row for row in cells(text) if row}
    assert rows["original"][2] == f"{verification['metrics']['metric']:.4f}"
    artifacts = {artifact["file"]: artifact for artifact in made.document["artifacts"]}
    for verdict in verification["verdicts"][1:]:
        (compared,) = verdict["against_original"]
        row = next(row for row in cells(text) if row and row[0] == verdict["name"])
        figures = [f"{verdict['metrics']['metric']:.4f}", f"{compared['agreement']:.1%}", f"{compared['sqnr']:.1f} dB"]
        assert row[2:5] == figures
        assert row[5:] == ["executes", artifacts[verdict["name"]]["runtime"]]
        assert f"<title>original / {verdict['name']}: {figures[1]} same answer, {figures[2]}</title>" in text
    for entry in verification["between"]:
        (compared,) = entry["comparisons"]
        assert f"{' / '.join(entry['artifacts'])}: {compared['agreement']:.1%} same answer" in text
    for each in verification["churn"][:3]:
        counts = [str(each[key]) for key in ("changed", "samples")]
        split = [str(each[key]) for key in ("right_to_wrong", "wrong_to_right", "wrong_to_wrong")]
        assert [each["between"][1], *counts, f"{each['changed'] / each['samples']:.1%}", *split] in cells(text)
    for each in verification["classes"]:
        assert any(row[:2] == [str(each["class"]), str(each["support"])] for row in cells(text) if row)
    assert "Every artifact agrees with the original within its tolerance." in text
    assert f"<code>{made.document['artifacts'][0]['sha256']}</code>" in text


def test_ranges_are_those_of_the_integers(made: Made) -> None:
    file, ranges = Contents(made.folder).ranges()
    assert file == "model.tflite"
    output = made.document["verification"]["verdicts"][0]["against_original"][0]
    last = next(each for each in ranges if each.name == output["output"])
    assert (last.high - last.low) / 255 == pytest.approx(output["step"], rel=1e-6)


def test_hostile_names_stay_words(changed: Any) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["source"] = content["target"] = HOSTILE
        content["notes"] = [HOSTILE]
        content["processing"]["labels"] = [HOSTILE] * 4
        content["versions"] = {HOSTILE: HOSTILE}
        content["provenance"].append({"name": HOSTILE, "settings": {HOSTILE: [HOSTILE]}, "facts": {}})
        content["artifacts"][0]["islands"] = [{"op_type": HOSTILE, "node": HOSTILE, "reason": HOSTILE}]
        content["artifacts"][0]["runtime"] = HOSTILE
        verification = content["verification"]
        verification["metrics"] = {HOSTILE: 1.0}
        verification["verdicts"][0]["name"] = HOSTILE
        verification["verdicts"][1]["violations"] = [HOSTILE]
        verification["churn"][0]["flips"] = [{"sample": 1, "before": 0, "after": 1, "confidence": 0.5, "label": 2}]

    text = page(changed(edit))
    assert "<script" not in text
    assert "alert(1)&lt;/script&gt;&amp;{{7*7}}" in text
    found = Checker(text)
    assert "script" not in found.tags
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture)


def test_a_model_without_classes_or_integers(edgecomp: Run, tmp_path: Path) -> None:
    kernel = {"kernel": np.ones((4, 3, 3, 3), np.float32)}
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["features"], "conv", pads=[1, 1, 1, 1])]
    file = save_onnx(tmp_path / "net.onnx", nodes, {"image": [1, 3, 8, 8]}, {"features": [1, 4, 8, 8]}, kernel)
    made = edgecomp("convert", file, "--precision", "fp16", "-o", tmp_path / "out")
    assert made.exit_code == 0, made.stderr
    answer = edgecomp("report", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    Checker(text)
    rows = cells(text)
    assert ["file", "size", "SQNR", "fp16", "runtime"] in rows
    assert ["import", WORDS["import"], "shapes image 1 3 8 8"] in rows
    assert "Changed answers" not in text
    assert "<h2>Ranges" not in text


def test_what_was_out_of_tolerance_is_said_first(changed: Any) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["verification"]["verdicts"][1]["violations"] = ["output 'y' is 3.0 dB from the original"]

    text = page(changed(edit))
    assert "Every artifact agrees" not in text
    assert text.index("3.0 dB from the original") < text.index("<section>")


def test_a_manifest_without_answers_or_labels_makes_a_shorter_page(changed: Any) -> None:
    def edit(content: dict[str, Any]) -> None:
        for key in ("metrics", "churn", "classes"):
            del content["verification"][key]

    text = page(changed(edit))
    Checker(text)
    assert "Changed answers" not in text
    assert "<h2>Classes" not in text
    assert "model.mnn" in text


def test_latencies_are_those_measured_of_these_files(changed: Any) -> None:
    folder = changed(lambda content: None)
    content = json.loads((folder / "manifest.json").read_text())
    times = {"p50": 12.345, "p95": 15.5}
    entries = [
        {"file": "model.tflite", "sha256": content["artifacts"][0]["sha256"], "result": {"latency_ms": times}},
        {"file": "older.tflite", "sha256": "0" * 64, "result": {"latency_ms": times}},
        {"file": "model.mnn", "sha256": content["artifacts"][1]["sha256"], "result": None},
    ]
    (folder / "measurements").mkdir()
    document = {"schema": 1, "started": "2026-01-01T00:00:00Z", "device": {"name": "kitchen"}, "artifacts": entries}
    (folder / "measurements" / "kitchen.json").write_text(json.dumps(document))
    rows = [row for row in cells(page(folder)) if "kitchen" in row]
    assert rows == [["model.tflite", "kitchen", "12.345 ms", "15.500 ms", "2026-01-01T00:00:00Z"]]


def test_a_diagnosis_shows_the_layers(edgecomp: Run, made: Made, task: Path, tmp_path: Path) -> None:
    diagnosed = edgecomp("diagnose", task, "--result", made.folder, "--json")
    assert diagnosed.exit_code == 0, diagnosed.stderr
    (tmp_path / "diagnosis.json").write_text(diagnosed.stdout)
    target = tmp_path / "report.html"
    answer = edgecomp("report", made.folder, "--diagnosis", tmp_path / "diagnosis.json", "-o", target)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.strip() == f"{target}: open it in any browser"
    text = target.read_text(encoding="utf-8")
    document = json.loads(diagnosed.stdout)
    assert document["verdict"] in unescape(text)
    assert all(f"{layer['op_type']} {layer['name']}: " in unescape(text) for layer in document["layers"])


def test_what_is_no_diagnosis_is_refused(edgecomp: Run, made: Made, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for name, actual in {"other.json": "KeyError: 'layers'", "none.json": "No such file or directory"}.items():
        answer = edgecomp("report", made.folder, "--diagnosis", tmp_path / name, "-o", tmp_path / "out.html")
        assert answer.exit_code == 2
        assert f"actual:   {actual}" in answer.stderr
    assert not (tmp_path / "out.html").exists()


def test_a_folder_that_is_not_what_was_verified_is_refused(changed: Any, tmp_path: Path) -> None:
    folder = changed(lambda content: None)
    (folder / "model.onnx").write_bytes(b"?")
    with pytest.raises(SourceError, match="the artifact that was verified"):
        page(folder)
    with pytest.raises(SourceError, match=r"manifest\.json"):
        page(tmp_path)


def test_every_step_has_words() -> None:
    assert set(STEPS) <= set(WORDS)
