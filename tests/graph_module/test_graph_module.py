"""A graph computes in torch what it computes in ONNX Runtime, for one sample and for many, and has gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "converters"))

from all_cases import CASES
from net import Net
from networks import NETWORKS, Network
from running import run_graph

from edgecomp.errors import UnsupportedOperatorError
from edgecomp.frontends import load_source
from edgecomp.graph.simplify import simplify
from edgecomp.graph_module.module import GraphModule, decomposed
from edgecomp.model import CompressedModel

#: Operators on integers and on places, which nothing flows back through.
REFUSED = ("bit", "detections", "gathernd", "maxpool-indices", "maxunpool", "reversesequence", "scatter", "topk")
#: Rounds to integers that it finds the scale of itself: a tie falls to either side.
TIES = ("matmulinteger",)
#: One of each operator that there is a function for, and everything that is pooled, resized, padded or convolved.
CHOSEN = [
    name
    for name in CASES
    if name.split("-")[0] in {"convtranspose", "averagepool", "resize", "pad", "slice"}
    or name == next(each for each in CASES if each.split("-")[0] == name.split("-")[0])
]
#: Small ones, with everything that networks are made of between them.
CHOSEN_NETWORKS = [
    each for each in NETWORKS if each.name in {"u-net", "vision-transformer", "text-reader", "gru", "keyword"}
]


@pytest.mark.parametrize("name", [name for name in CHOSEN if not name.startswith((*REFUSED, *TIES))])
def test_an_operator_computes_what_onnx_runtime_does(name: str) -> None:
    net = Net(opset=CASES[name].opset)
    CASES[name].build(net)
    graph, rng = net.model(), np.random.default_rng(3)
    inputs = [feed.draw(rng) for feed in net.feeds]
    expected = run_graph(graph, inputs)
    module = GraphModule(decomposed(simplify(CompressedModel(graph))).graph)
    got = module(*map(torch.from_numpy, inputs))
    for want, have in zip(expected, got, strict=True):
        np.testing.assert_allclose(have.detach().numpy(), want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max()))


def test_what_cannot_be_differentiated_is_refused_by_name() -> None:
    net = Net()
    CASES["topk-last"].build(net)
    with pytest.raises(UnsupportedOperatorError, match="TopK 'n1_TopK'") as caught:
        GraphModule(decomposed(simplify(CompressedModel(net.model()))).graph)
    assert "train the torch module" in caught.value.cure


@pytest.mark.parametrize("network", CHOSEN_NETWORKS, ids=lambda network: network.name)
def test_a_network_computes_and_learns_as_its_module_does(network: Network) -> None:
    torch.manual_seed(0)
    original = network.make().eval()
    source = load_source(original, example_inputs=(torch.rand(network.shape),))
    module = GraphModule(decomposed(simplify(CompressedModel(source.graph))).graph)
    batch = torch.rand(3, *network.shape[1:])
    expected, slope = _outputs_and_slope(original, batch)
    got, own_slope = _outputs_and_slope(module, batch)
    for want, have in zip(expected, got, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(own_slope, slope, rtol=1e-2, atol=1e-3 * float(slope.abs().max()))


def _outputs_and_slope(module: torch.nn.Module, batch: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    batch = batch.clone().requires_grad_()
    outputs = module(batch)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    sum((output**2).sum() for output in outputs).backward()
    assert batch.grad is not None
    return [output.detach() for output in outputs], batch.grad


def test_a_part_of_a_graph() -> None:
    source = load_source(NETWORKS[0].make().eval(), example_inputs=(torch.rand(NETWORKS[0].shape),))
    model = simplify(CompressedModel(source.graph))
    nodes = list(model.graph.graph)
    names = [node.outputs[0].name or "" for node in nodes]
    middle, end = names[3], names[-1]
    weights = [name for name, value in model.graph.graph.initializers.items() if len(value.shape or ()) == 4]
    whole = GraphModule(model.graph, outputs=[middle, end], trainable=weights)
    image = torch.rand(2, *NETWORKS[0].shape[1:])
    first, last = whole(image)
    end_part = GraphModule(model.graph, inputs=[middle, *_skips(nodes, 3)], outputs=[end], trainable=weights)
    assert 0 < len(end_part.weights) < len(whole.weights)
    skips = GraphModule(model.graph, outputs=_skips(nodes, 3))(image)
    torch.testing.assert_close(end_part(first, *skips)[0], last)
    last.sum().backward()
    assert all(weight.grad is not None for weight in whole.weights.values())


def _skips(nodes: list, place: int) -> list[str]:
    """What nodes behind a place read from in front of it, besides the result of the node there."""
    before = {node.outputs[0].name for node in nodes[:place]}
    return sorted({v.name for node in nodes[place + 1 :] for v in node.inputs if v is not None} & before)
