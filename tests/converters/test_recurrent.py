"""Recurrent layers and operators with subgraphs: in float as the graph says, in int8 as the simulation does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from case import Case, Precision
from net import Net
from recurrent import CASES
from running import refer, run_artifact

from edgecomp.converter import ConversionOptions, load_converter


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("format_name", ["tflite", "mnn"])
def test_a_recurrent_layer_computes_what_the_graph_says(
    format_name: str, case: Case, precision: Precision, tmp_path: Path
) -> None:
    net = Net(opset=case.opset)
    case.build(net)
    reference = refer(net.model(), net.feeds)
    exact = precision == "float"
    model = reference.float_model if exact else reference.int8_model
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    predictor = converter.open(path)
    for _ in range(2):  # a second run starts from the same state
        outputs = run_artifact(predictor, reference.inputs)
        for output, expected, step in zip(
            outputs, reference.expected if exact else reference.simulated, reference.steps, strict=True
        ):
            assert np.abs(output - expected).max() <= (1e-5 * np.abs(expected).max() if exact else case.steps * step)
