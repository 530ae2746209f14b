"""Drawings are whole, need nothing else, and nothing in them lies on anything else."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from processor_time import least_seconds

from edgecomp.drawing import draw
from edgecomp.drawing.columns import fold
from edgecomp.drawing.layers import lay_out
from edgecomp.drawing.page import page
from edgecomp.drawing.picture import picture
from edgecomp.errors import OutputError
from edgecomp.inspection import Contents, Inspection, Node, Quantization, Tensor

_SVG = "{http://www.w3.org/2000/svg}"


def residual(count: int, *, name: str = "block/Conv_{}") -> Inspection:
    """A chain with a detour now and then, and an island in its middle."""
    numbers = random.Random(1)
    tensors = [Tensor("x", "int8", (1, 8, 8, 4), None, Quantization(0.5, -3))]
    nodes = []
    for index in range(count):
        inputs = [index] if index % 5 or index < 6 else [index, index - numbers.randrange(1, 5)]
        precision = "float32" if count // 2 <= index < count // 2 + 3 else "int8"
        tensors.append(Tensor(name.format(index), precision, (1, 8, 8, 4)))
        nodes.append(
            Node(
                "CONV_2D" if len(inputs) == 1 else "ADD",
                name.format(index),
                precision,
                tuple(inputs),
                (index + 1,),
                "block",
            )
        )
    return Inspection("tflite", 1, (), (), Contents(tuple(tensors), tuple(nodes), (0,), (count,)))


@pytest.mark.parametrize("count", [0, 1, 10, 100, 300])
def test_no_box_lies_on_another(count: int) -> None:
    edges = [(index, index + 1) for index in range(count)] + [(index, index + 4) for index in range(0, count - 3, 4)]
    widths = [60.0 + 10 * (index % 7) for index in range(count + 1)]
    placed = fold(lay_out(widths, edges), edges, height=44, gap=30)
    boxes = [
        (x - width / 2, y - 22, x + width / 2, y + 22) for (x, y), width in zip(placed.centres, widths, strict=True)
    ]
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= -0.01
        assert right <= placed.width + 0.01
        assert bottom <= placed.height + 0.01
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_the_main_way_is_straight_and_arrows_go_down() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (1, 3)]
    placed = fold(lay_out([80.0] * 5, edges), edges, height=44, gap=30)
    assert max(x for x, _ in placed.centres) - min(x for x, _ in placed.centres) < 0.5
    for source, target in edges:
        assert placed.centres[source][1] < placed.centres[target][1]


def test_a_picture_shows_everything_and_is_valid_xml() -> None:
    root = ET.fromstring(picture(residual(100), "a <b> & c"))
    boxes = [group for group in root.iter(f"{_SVG}g") if "box" in group.get("class", "").split()]
    assert len(boxes) == 102
    assert sum(path.get("class") == "sea" for path in root.iter(f"{_SVG}path")) >= 2
    words = "".join(root.itertext())
    for expected in (
        "a <b> & c",
        "float32 3",
        "int8 97",
        "in a float island 3",
        "1 float island",
        "scale 0.5, zero point -3",
        "module block",
    ):
        assert expected in words


@pytest.mark.parametrize("name", ["<script>alert(1)</script>{}", "\x00\x1b{}", "]]>{}", "&amp;{}\ud800"])
def test_hostile_names_stay_words(name: str) -> None:
    inspection = residual(3, name=name)
    ET.fromstring(picture(inspection, name))
    assert "<script>alert" not in page(inspection, name)


def test_a_page_needs_nothing_else() -> None:
    text = page(residual(50), "title")
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#)[\w/]""", text)
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_a_thousand_nodes_take_seconds() -> None:
    model = residual(1000)
    assert least_seconds(lambda: picture(model, "large"), repeats=1) < 10


def test_a_drawing_goes_where_it_is_told(tmp_path: Path) -> None:
    draw(residual(3), "net", tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    with pytest.raises(OutputError, match=r"suffix '.pdf'"):
        draw(residual(3), "net", tmp_path / "a.pdf")
    with pytest.raises(OutputError, match="choose another place"):
        draw(residual(3), "net", tmp_path / "none" / "a.svg")
