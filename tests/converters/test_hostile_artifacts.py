"""A damaged artifact is refused with a SourceError or still readable; it never takes the process with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from all_cases import CASES
from net import Net
from running import Reference, refer

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.converters.mnn import net
from edgecomp.converters.mnn.flatbuffer import Table
from edgecomp.converters.tflite.seal import SEAL_KEY, is_intact
from edgecomp.errors import DataError, SourceError
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

FORMATS = ("tflite", "onnxruntime", "ort")


@pytest.fixture(scope="module")
def reference() -> Reference:
    net = Net()
    CASES["residual"].build(net)
    return refer(net.model(), net.feeds)


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_damage_crashes_the_reader(format_name: str, reference: Reference, tmp_path: Path) -> None:
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(reference.int8_model, path, ConversionOptions())
    script = Path(__file__).with_name("damage.py")
    process = subprocess.run(
        [sys.executable, str(script), format_name, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "'refused'" in process.stdout


def test_an_mnn_input_without_a_tensor_is_refused(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "model.mnn"
    load_converter("mnn").convert(reference.float_model, path, ConversionOptions())
    content = bytearray(path.read_bytes())
    table = next(
        table for table in Table.root(content).tables(net._OPS) if net.OP_TYPES[table.integer(net._TYPE)] == "Input"
    )
    place = table.target(net._OUTPUTS)
    assert place is not None
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="has no tensor"):
        edgecomp.load(path)


def test_a_change_to_a_tflite_file_shows(reference: Reference, tmp_path: Path) -> None:
    converter = load_converter("tflite")
    path = tmp_path / "model.tflite"
    converter.convert(reference.int8_model, path, ConversionOptions())
    content = path.read_bytes()
    checksum = _checksum(path)
    assert is_intact(content, checksum)
    for position in (100, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        assert not is_intact(bytes(changed), checksum)


def _checksum(path: Path) -> bytes:
    from edgecomp.converters.tflite.inspection import read

    model = read(path)
    (entry,) = (entry for entry in model.metadata if entry.name.decode() == SEAL_KEY)
    return bytes(model.buffers[entry.buffer].data)


def test_a_file_of_another_tool_need_not_work_on_zeros(tmp_path: Path) -> None:
    net = Net()
    above = net.node("Sub", net.input(4, dtype="int64"), net.constant(np.array([10])))
    rows = net.node("Relu", net.input(5, 3))
    net.output(net.node("Gather", rows, above))
    path = tmp_path / "model.tflite"
    load_converter("tflite").convert(simplify(CompressedModel(net.model())), path, ConversionOptions())
    sealed = path.read_bytes()
    path.write_bytes(sealed + bytes(16))  # whatever wrote this, it was not edgecomp
    artifact = edgecomp.load(path)
    indices, table = np.arange(10, 14), np.ones((5, 3), np.float32)
    (found,) = artifact.predict([indices, table]).values()
    np.testing.assert_array_equal(found, table[:4])
    with pytest.raises(DataError, match="indices within the bounds"):
        artifact.predict([indices * 0, table])
