"""Rows whose scores are nearly equal may change places; a wrong row stays wrong."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

import edgecomp
from edgecomp.arrays import Array
from edgecomp.errors import ExportError
from edgecomp.graph.rankings import Ranking
from edgecomp.model import CompressedModel
from edgecomp.quantization.simulation import Simulation
from edgecomp.verification.original import Original
from edgecomp.verification.ranking import in_order_of

ROWS = 8
APART = [Ranking({"boxes": 1, "scores": 1})]
TOGETHER = [Ranking({"y": 1})]


def detections(*scores: float) -> dict[str, Array]:
    boxes = np.random.default_rng(0).uniform(0, 300, (1, len(scores), 4)).astype(np.float32)
    return {"boxes": boxes, "scores": np.array([scores], np.float32)}


def as_one(found: dict[str, Array]) -> dict[str, Array]:
    return {"y": np.concatenate([found["boxes"], found["scores"][..., None]], axis=2)}


def turned(found: dict[str, Array], order: list[int]) -> dict[str, Array]:
    """The same detections in another order, with sorted scores."""
    return {"boxes": found["boxes"][:, order], "scores": -np.sort(-found["scores"], axis=1)}


GOOD = detections(0.9, 0.8, 0.8, 0.8, 0.5, 0.3, 0.1, 0.05)


def test_rows_of_one_score_in_any_order_are_the_same() -> None:
    given = turned(GOOD, [0, 3, 1, 2, 4, 5, 6, 7])
    found = in_order_of(GOOD, given, APART)
    np.testing.assert_array_equal(found["boxes"], GOOD["boxes"])
    np.testing.assert_array_equal(in_order_of(as_one(GOOD), as_one(given), TOGETHER)["y"], as_one(GOOD)["y"])


def test_how_far_scores_are_apart_says_how_uncertain_they_are() -> None:
    near = detections(0.9, 0.52, 0.51, 0.5, 0.3, 0.2, 0.1, 0.0)
    given = {"boxes": near["boxes"][:, [0, 2, 1, 3, 4, 5, 6, 7]], "scores": near["scores"].copy()}
    assert np.abs(in_order_of(near, given, APART)["boxes"] - near["boxes"]).max() > 1  # scores agree: no reason to turn
    given["scores"] = np.array([[0.9, 0.515, 0.515, 0.5, 0.3, 0.2, 0.1, 0.0]], np.float32)
    found = in_order_of(near, given, APART)
    np.testing.assert_array_equal(found["boxes"], near["boxes"])
    np.testing.assert_allclose(found["scores"], near["scores"], atol=0.0051)


def test_a_row_that_is_wrong_stays_wrong() -> None:
    given = {name: array.copy() for name, array in GOOD.items()}
    given["boxes"][0, 2] += 100
    found = in_order_of(GOOD, given, APART)
    assert np.abs(found["boxes"] - GOOD["boxes"]).max() == pytest.approx(100, rel=1e-5)


def test_of_rows_as_good_as_the_last_one_others_may_be_there() -> None:
    faint = detections(0.9, 0.7, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3)
    given = {name: array.copy() for name, array in faint.items()}
    given["boxes"][0, 3:] = 7
    np.testing.assert_array_equal(in_order_of(faint, given, APART)["boxes"], faint["boxes"])
    given["boxes"][0, 1] = 7
    assert np.abs(in_order_of(faint, given, APART)["boxes"] - faint["boxes"]).max() > 1


def test_scores_are_compared_also_where_rows_are_not() -> None:
    faint = detections(*[0.0] * ROWS)
    given = {"boxes": faint["boxes"] + 50, "scores": np.full((1, ROWS), 0.02, np.float32)}
    found = in_order_of(faint, given, APART)
    np.testing.assert_array_equal(found["boxes"], faint["boxes"])
    np.testing.assert_array_equal(found["scores"], given["scores"])


def test_scores_that_are_far_off_excuse_little() -> None:
    given = {"boxes": GOOD["boxes"][:, ::-1], "scores": GOOD["scores"] * 0.2}
    found = in_order_of(GOOD, given, APART)
    assert np.abs(found["boxes"] - GOOD["boxes"])[0, :4].max() > 1


def test_rows_without_scores_are_compared_as_they_are() -> None:
    given = {"boxes": GOOD["boxes"][:, ::-1]}
    ranking = [Ranking({"boxes": 1})]
    np.testing.assert_array_equal(in_order_of({"boxes": GOOD["boxes"]}, given, ranking)["boxes"], given["boxes"])


class Detector(nn.Module):
    """Anchors with a score each, most of them the same for a plain picture, and the best of them."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.box = nn.Conv2d(3, 1, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, places = self.score(picture).sigmoid().flatten(1).topk(20)
        places_of = torch.arange(100.0).reshape(1, 10, 10, 1)
        boxes = (self.box(picture).permute(0, 2, 3, 1) + places_of).flatten(1, 2)
        return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4)), scores


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_detector_that_ends_in_a_top_k_is_converted(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = [np.zeros((1, 3, 10, 10), np.float32) for _ in range(8)]
    for picture in pictures:
        row, column = rng.integers(1, 8, 2)
        picture[0, :, row : row + 2, column : column + 2] = rng.uniform(0.5, 1, (3, 2, 2))
    result = edgecomp.compress(
        Detector().eval(),
        "linux-x86-64",
        tmp_path / "out",
        example_inputs=(torch.from_numpy(pictures[0]),),
        calibration=lambda: [(picture,) for picture in pictures],
        precision=precision,
        formats=["tflite", "onnxruntime", "mnn"],
    )
    assert not result.verification.violations


def test_the_source_is_held_to_its_graph_in_the_same_way() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> net (float[1,9] x) => (float[1,4] s, int64[1,4] i)
        <int64[1] four = {4}> { s, i = TopK (x, four) }"""
    model = CompressedModel(ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))))
    graph = Simulation(model)
    x = np.array([[5, 3, 3, 4, 0, 0, 0, 0, 0]], np.float32)

    def original(order: list[int]) -> Original:
        reference = lambda inputs: [each[:, order] for each in graph.run(inputs)]  # noqa: E731
        source = SimpleNamespace(name="net", reference=reference, release=lambda: None)
        return Original(source, model, checked=1)  # type: ignore[arg-type]

    original([0, 1, 3, 2]).run([x])
    with pytest.raises(ExportError, match="output 's'"):
        original([1, 0, 2, 3]).run([x])
