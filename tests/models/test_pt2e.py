"""A real network that PyTorch's own tools quantized keeps its integers in every format."""

import itertools
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import edgecomp

pytestmark = pytest.mark.models

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    import efficientnet_lite0

    return efficientnet_lite0


def quantized(task: Any) -> torch.nn.Module:
    """EfficientNet-Lite0 in int8 by torchao, calibrated with its defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools are in the middle of a move from torch to torchao to executorch
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(torch.export.export(task.model().eval(), task.example_inputs()).module(), quantizer)
        for batch in itertools.islice(task.calibration_data(), 40):
            prepared(*batch)
        module: torch.nn.Module = convert_pt2e(prepared)
    return module


def test_efficientnet_keeps_its_integers_and_its_answers(task: Any, tmp_path: Path) -> None:
    module = quantized(task)
    result = edgecomp.compress(
        module,
        "raspberry-pi-4b",
        tmp_path / "out",
        example_inputs=next(task.calibration_data()),
        precision="fp32",
        evaluation=lambda: itertools.islice(task.evaluation_data(), 100),
    )
    weights = [tensor for tensor in module.state_dict().values() if tensor.dtype == torch.int8 and tensor.ndim == 4]
    assert len(weights) == 49
    stored = result.artifacts["onnxruntime"].read_bytes()
    assert all(weight.numpy().tobytes() in stored for weight in weights)
    for verdict in result.verification.verdicts:
        assert (verdict.against_original[0].agreement or 0) >= 0.94, verdict.name
    assert result.artifacts["tflite"].stat().st_size < 5.5e6
