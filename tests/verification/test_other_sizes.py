"""Artifacts with dynamic dimensions at a size that no graph was prepared at: an odd one, where the source has such."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgecomp
from edgecomp.errors import ConversionError, DataError
from edgecomp.graph.sizes import bindings, unseen
from edgecomp.interface import Interface, TensorInterface
from edgecomp.shapes import InputShapes
from edgecomp.verification.result import Verdict, Verification
from edgecomp.verification.sizes import verify_sizes

EXAMPLE = {"height": 64, "width": 48}
SHAPES = InputShapes(
    {"x": ("height", "width")}, EXAMPLE, bindings=tuple(bindings(EXAMPLE)), odd=frozenset(["height", "width"])
)
EVEN = unseen(EXAMPLE, SHAPES.bindings)
ODD = {name: size - 3 for name, size in EVEN.items()}


def check(fails, *, shapes=SHAPES, seen=None, answers=lambda inputs: True, interface=None):
    """Verifies a.onnx, which is always right, and b.mnn, which `fails` at some (height, width)."""
    paths = [Path("a.onnx"), Path("b.mnn")]
    taken = interface or Interface((TensorInterface("x", "float32", (None, None)),), ())
    interfaces = {"a.onnx": Interface((TensorInterface("x", "float32", (None, None)),), ()), "b.mnn": taken}
    ran = []

    def run(artifacts, samples):
        sizes = [inputs[0].shape for inputs, _ in samples]
        ran.append(([path.name for path in artifacts], sizes))
        found = [fails(*size) for size in sizes if "b.mnn" in [path.name for path in artifacts]]
        violations = {path.name: max(found) if path.name == "b.mnn" else "" for path in artifacts}
        if "crashed" in violations.values():
            raise ConversionError("b.mnn", expected="an answer", actual="crashed", cure="")
        return Verification(
            1, None, tuple(Verdict(name, (), violations=(v,) * bool(v)) for name, v in violations.items())
        )

    found = Verification(1, None, (), interfaces=interfaces, example={"inputs": {"x": np.zeros((64, 48), np.float32)}})
    verification = verify_sizes(run, paths, found, shapes, seen or {}, answers)
    at = [(dict(each.sizes), [verdict.name for verdict in each.verdicts]) for each in verification.sizes]
    return at, verification.restrictions, verification.violations, ran


def test_an_odd_size_costs_no_run_more():
    at, restrictions, violations, ran = check(lambda *size: "")
    assert at == [(ODD, ["a.onnx", "b.mnn"])]
    assert (restrictions, violations, len(ran)) == ({}, (), 1)
    assert all(np.gcd(ODD[name], EXAMPLE[name]) == 1 for name in EXAMPLE)


@pytest.mark.parametrize("how", ["4 dB", "crashed"])
def test_what_fails_at_an_odd_size_of_one_dimension_is_to_take_multiples_in_that(how):
    at, restrictions, violations, _ = check(lambda height, width: how if height % 2 else "")
    assert at == [(ODD, ["a.onnx"]), (EVEN, ["b.mnn"])]
    assert violations == ()
    restriction = restrictions["b.mnn"]
    assert (restriction.names, restriction.reason) == (("height",), how)
    assert restriction.note("b.mnn", SHAPES) == (
        f"b.mnn takes 'height' in multiples of 32 only: at height={ODD['height']}, width={ODD['width']} it does not "
        f"agree with the original ({how}). Pad to such a size, or give --shape for a fixed one."
    )


def test_what_fails_at_odd_sizes_together_is_to_take_multiples_in_all():
    _, restrictions, _, _ = check(lambda height, width: "4 dB" if height % 2 and width % 2 else "")
    assert restrictions["b.mnn"].names == ("height", "width")


def test_what_fails_at_even_sizes_too_is_rejected_as_ever():
    _, _, violations, _ = check(lambda *size: "4 dB")
    assert violations == (f"b.mnn at height={EVEN['height']}, width={EVEN['width']}: 4 dB",)


def test_where_the_source_gives_no_numbers_at_an_odd_size_an_even_one_is_tried():
    at, restrictions, _, _ = check(lambda height, width: "4 dB" if height % 2 else "", answers=lambda inputs: False)
    assert (at, restrictions) == ([(EVEN, ["a.onnx", "b.mnn"])], {})


def test_an_artifact_is_held_to_what_it_takes():
    interface = Interface((TensorInterface("x", "float32", (None, None), multiples=(32, 1)),), ())
    at, _, _, _ = check(lambda *size: "", interface=interface)
    assert at == [(ODD, ["a.onnx"]), ({**EVEN, "width": ODD["width"]}, ["b.mnn"])]


def test_data_of_odd_sizes_need_no_stand_in():
    at, _, _, _ = check(lambda *size: "", seen={"height": (33, 64), "width": (48, 48)})
    assert at == [({"width": ODD["width"]}, ["a.onnx", "b.mnn"])]
    at, _, _, _ = check(lambda *size: "", seen={"height": (32, 64), "width": (48, 48)})
    assert at == [(ODD, ["a.onnx", "b.mnn"])]


def smallest(height, width, **others):
    interface = Interface((TensorInterface("x", "float32", (None, None), smallest=(height, width)),), ())
    shapes = replace(SHAPES, smallest={"height": 5, "width": 4}, **others)
    return {"shapes": shapes, "interface": interface}


def test_the_smallest_size_costs_no_run_more():
    at, restrictions, violations, ran = check(lambda *size: "", **smallest(5, 4))
    assert (restrictions, violations) == ({}, ())
    assert [sizes for names, sizes in ran if "b.mnn" in names] == [[tuple(ODD.values()), (5, 4)]]
    assert at[-1] == (ODD, ["b.mnn"])


@pytest.mark.parametrize("how", ["4 dB", "crashed"])
def test_what_fails_at_the_smallest_size_begins_at_a_larger_one(how):
    at, restrictions, violations, _ = check(lambda height, width: how if height < 20 else "", **smallest(5, 4))
    assert (at, violations) == ([(ODD, ["a.onnx"]), (ODD, ["b.mnn"])], ())
    restriction = restrictions["b.mnn"]
    assert restriction.names == ()
    assert 20 <= restriction.smallest["height"] < 24
    assert restriction.narrowed(SHAPES).smallest == restriction.smallest
    assert "b.mnn takes 'height' from 20 on, 'width' from" in restriction.note("b.mnn", SHAPES)


def test_what_fails_at_the_smallest_size_again_begins_at_the_example():
    _, restrictions, _, _ = check(lambda height, width: "4 dB" if height in (20, 21) else "", **smallest(20, 15))
    assert restrictions["b.mnn"].smallest == EXAMPLE


def test_what_fails_at_odd_sizes_and_at_the_smallest_is_restricted_step_by_step():
    wrong = lambda height, width: "4 dB" if height % 2 or height < 20 else ""  # noqa: E731
    _, first, _, _ = check(wrong, **smallest(5, 4))
    assert (first["b.mnn"].names, first["b.mnn"].smallest) == (("height",), {})
    narrowed = first["b.mnn"].narrowed(SHAPES)
    interface = Interface((TensorInterface("x", "float32", (None, None), multiples=(32, 1), smallest=(4, 4)),), ())
    shapes = replace(narrowed, smallest={"height": 4, "width": 4})
    _, second, _, _ = check(wrong, shapes=shapes, interface=interface)
    assert second["b.mnn"].smallest["height"] >= 20
    both = first["b.mnn"].joined(second["b.mnn"])
    assert both.narrowed(SHAPES).multiples == {"height": 32}
    assert both.narrowed(SHAPES).smallest == second["b.mnn"].smallest


def convolved(path):
    """Strided windows without padding, whose last leaves nothing of a small image: MNN crashes, or makes numbers up."""
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        net (float[n, 3, h, w] x) => (float[n, 4] y) {
            a = Conv<strides=[4, 4], pads=[1, 1, 1, 1]>(x, first)  b = Conv<strides=[2, 2]>(a, second)
            m = ReduceMean<keepdims=0>(b, axes)  y = Relu(m)
        }
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    kernels = {"first": rng.normal(size=(8, 3, 7, 7)), "second": rng.normal(size=(4, 8, 5, 5))}
    tensors = {**{name: array.astype(np.float32) for name, array in kernels.items()}, "axes": np.array([2, 3])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in tensors.items())
    onnx.save(model, path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_artifacts_take_what_the_source_takes_and_nothing_below(tmp_path, precision):
    convolved(tmp_path / "net.onnx")
    shapes = {"x": (edgecomp.shapes.Symbol("n"), 3, edgecomp.shapes.Symbol("h", 64), edgecomp.shapes.Symbol("w", 48))}
    result = edgecomp.compress(
        tmp_path / "net.onnx", "linux-x86-64", tmp_path / "out", shapes=shapes, precision=precision, data_free=True
    )
    for path in result.artifacts.values():
        artifact = edgecomp.load(path)
        for size in [(5, 7), (16, 16), (20, 21), (64, 20), (0, 64)]:
            with pytest.raises(DataError, match=r"x of shape \(any, 3, any from 21 on, any from 21 on\)"):
                artifact.predict(np.ones((1, 3, *size), np.float32))
        (least,) = artifact.predict(np.ones((1, 3, 21, 21), np.float32)).values()
        assert least.shape == (1, 4)


def halved(path):
    """Half of an image, by a scale: at odd sizes TFLite's coordinates are not those of ONNX."""
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        net (float[n, 3, h, w] x) => (float[n, 3, a, b] y) <float[4] scales = {1.0, 1.0, 0.5, 0.5}> {
            y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , scales)
        }
    """
    onnx.save(onnx.parser.parse_model(text), path)


def test_compress_writes_what_fails_at_odd_sizes_anew(tmp_path, monkeypatch):
    """A converter that was shown even sizes only believes that it takes all."""
    halved(tmp_path / "net.onnx")
    monkeypatch.setattr(InputShapes, "prepared", property(lambda shapes: shapes.bindings))
    shapes = {"x": (1, 3, edgecomp.shapes.Symbol("h", 32), edgecomp.shapes.Symbol("w", 48))}
    result = edgecomp.compress(tmp_path / "net.onnx", "linux-x86-64", tmp_path / "out", shapes=shapes, precision="fp32")
    (note,) = (note for note in result.manifest["notes"] if "multiples" in note)
    assert note.startswith("model.tflite takes 'h' in multiples of 32, 'w' in multiples of 16 only: at h=")
    takes = {name: edgecomp.load(path).inputs[0].takes((1, 3, 35, 51)) for name, path in result.artifacts.items()}
    assert takes == {"tflite": False, "onnxruntime": True, "mnn": True}
    image = np.random.default_rng(0).random((1, 3, 96, 80), np.float32)
    given = [next(iter(edgecomp.load(path).predict(image).values())) for path in result.artifacts.values()]
    for each in given:
        np.testing.assert_allclose(each, given[1], rtol=1e-4, atol=1e-5)
