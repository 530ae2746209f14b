"""What efforts do about a network that int8 breaks: `balanced` says so, `best` keeps in float what it takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import test_mixed_precision as nets
from graphs import model_of, node, weights

import edgecomp
from edgecomp.diagnosis.advice import remarks
from edgecomp.mixed_precision.islands import keep_in_float
from edgecomp.model import CompressedModel, Step
from edgecomp.pipeline import Result
from edgecomp.quantization.float_share import float_share
from edgecomp.quantization.static import quantize_static
from edgecomp.recipe import default_recipe
from edgecomp.recovery.effort import ENOUGH
from edgecomp.target import load_target
from edgecomp.verification.tolerance import Tolerance

#: Swish between the broken layer and the next: nothing can be evened out there.
TASK = nets.TASK.replace("first, relu(), wide, relu(), narrow", "first, relu(), wide, torch.nn.Hardswish(), narrow")
TASK = TASK.replace("1000.0", "50000.0")


def compressed(effort: str, folder: Path) -> Result:
    (folder / "task.py").write_text(TASK)
    recipe = default_recipe(load_target(nets.TARGET), "int8", effort)  # type: ignore[arg-type]
    recipe = replace(recipe, formats=("onnxruntime",))
    return edgecomp.compress(
        folder / "task.py", nets.TARGET, folder / "out", recipe=recipe, tolerance=Tolerance(agreement=0.1)
    )


def sqnr_of(result: Result) -> float:
    return result.verification.verdicts[0].against_original[0].sqnr or 0.0


def rounded(sqnr: float) -> CompressedModel:
    graph = ir.Model(ir.Graph((), (), nodes=()), ir_version=10)
    return CompressedModel(graph).after(
        Step("quantize", facts={"estimator": "mse", "sqnr": {"mse": sqnr, "minmax": 3.0}})
    )


def test_balanced_says_when_integers_lose_much() -> None:
    (note,) = remarks(rounded(11.3))
    assert note.startswith("Integers keep 11.3 dB of signal to noise on calibration data")
    assert "--effort best or --min-sqnr 20" in note
    assert list(remarks(rounded(25.0))) == []


def test_what_the_rules_leave_in_float_is_counted() -> None:
    data = [(np.random.default_rng(seed).normal(size=(1, 4, 16)).astype(np.float32),) for seed in range(4)]
    model = model_of(
        node("MatMul", "x a", "p"), node("LayerNormalization", "p s", "q"), node("MatMul", "q b", "r"),
        node("Erf", "r", "y"), shape=(1, 4, 16), a=weights(16, 16), b=weights(16, 48), s=np.ones(16, np.float32),
    )  # fmt: skip
    share = float_share(quantize_static(model, data))
    assert (share.macs, share.nodes, share.total) == (0.0, {"LayerNormalization": 1, "Erf": 1}, 4)
    marked = model.graph.clone()
    keep_in_float(marked.graph, ["MatMul_r"])
    share = float_share(quantize_static(CompressedModel(marked), data))
    assert share.macs == 0.75
    assert str(share).startswith("3 of 4 operators with 75.0% of the multiplications compute in float")


def test_best_keeps_in_float_what_it_takes_and_says_so(tmp_path: Path) -> None:
    for effort in ("balanced", "best"):
        (tmp_path / effort).mkdir()
    balanced, best = (compressed(effort, tmp_path / effort) for effort in ("balanced", "best"))
    assert sqnr_of(best) >= ENOUGH > sqnr_of(balanced)
    (note,) = [note for note in best.manifest["notes"] if "signal to noise" in note]
    assert note.startswith("Mixed precision chose ")
    assert "layers in float (50.0% of the multiplications)" in note


def test_a_promise_that_is_not_strict_gives_the_best_there_is(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    recipe = nets.asking(min_sqnr=90.0, strict=False)
    result = edgecomp.compress(tmp_path / "task.py", nets.TARGET, tmp_path / "out", recipe=recipe)
    assert ENOUGH < sqnr_of(result) < 90
