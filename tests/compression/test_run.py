"""Steps on a torch module are part of a recipe like any other."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from edgecomp.compression.pruning.weights import WeightPruning
from edgecomp.errors import SourceError
from edgecomp.frontends.torch_module import load_module
from edgecomp.pipeline import compress
from edgecomp.recipe import Recipe

FLOAT = Recipe("raspberry-pi-4b", precision="fp32", formats=("onnxruntime",))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))


def test_what_a_step_removes_is_gone_from_the_artifact_and_on_record(tmp_path: Path) -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    recipe = Recipe(**{**vars(FLOAT), "steps": (WeightPruning(sparsity=0.75),)})
    result = compress(module, "raspberry-pi-4b", tmp_path / "out", recipe=recipe, example_inputs=torch.rand(1, 8))
    stored = [numpy_helper.to_array(each) for each in onnx.load(result.artifacts["onnxruntime"]).graph.initializer]
    assert [float((array == 0).mean()) for array in stored if array.ndim == 2] == [0.75, 0.75]
    step = next(step for step in result.manifest["provenance"] if step["name"] == "prune-weights")
    assert step["settings"]["sparsity"] == 0.75
    assert step["facts"] == {"zeros": 144, "weights": 192, "parameters": 212, "macs": 192}
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), "the user's module is not touched"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_program_has_no_layers_to_prune(tmp_path: Path) -> None:
    program = torch.jit.script(network())
    recipe = Recipe(**{**vars(FLOAT), "steps": (WeightPruning(),)})
    with pytest.raises(SourceError, match="a TorchScript program") as caught:
        compress(program, "raspberry-pi-4b", tmp_path / "out", recipe=recipe, example_inputs=torch.rand(1, 8))
    assert "state_dict()" in caught.value.cure
    assert not (tmp_path / "out").exists()


def test_a_graph_has_no_layers_to_prune(tmp_path: Path) -> None:
    ir.save(load_module(network(), torch.rand(1, 8), name="net", subject="net").graph, tmp_path / "net.onnx")
    recipe = Recipe(**{**vars(FLOAT), "steps": (WeightPruning(),)})
    with pytest.raises(SourceError, match="a torch module") as caught:
        compress(tmp_path / "net.onnx", "raspberry-pi-4b", tmp_path / "out", recipe=recipe)
    assert "prune-weights" in caught.value.subject
    assert not (tmp_path / "out").exists()
