"""What a `.mnn` file holds, as far as edgecomp reads and writes it.

Field numbers and enumerations come from MNN 3.6's `schema/default/MNN.fbs`, `CaffeOp.fbs` and `Tensor.fbs`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
import numpy.typing as npt

from edgecomp.converters.mnn.flatbuffer import Buffer, Front, MalformedError, Table
from edgecomp.errors import SourceError
from edgecomp.system.memory import mapped

# Net.
_BIZ_CODE, _DESCRIBES, _EXTRA_INFO, _OPS, _OUTPUT_NAMES, _FORWARD_TYPE = range(6)
_SOURCE_TYPE, _TENSOR_NAMES, _TENSOR_NUMBER, _USAGE, _SUBGRAPHS, _UUID = range(6, 12)
# Op.
_INPUTS, _PARAMETER_TYPE, _PARAMETER, _NAME, _OUTPUTS, _TYPE = range(6)

#: The integers of DataType in Tensor.fbs: int32, uint8, int16, int8, int64, bool.
INTEGER_TYPES = frozenset({3, 4, 5, 6, 9, 10})
_INT8 = 6

#: Bytes that the quantization of a tensor takes at most, and what there is one of in a file, but for its code.
_ROOM = 1024

#: What lies in the place of a file's seal while its own is computed.
_NO_SEAL = "0" * 64

# One name a line would be 123 lines.
_FIRST_OP_TYPES = """
    AbsVal QuantizedAdd ArgMax AsString InstanceNorm BatchToSpaceND Copy BinaryOp Bnll Cast Concat Const
    Convolution ConvolutionDepthwise Crop CropAndResize ImageProcess Deconvolution DeconvolutionDepthwise
    Dequantize DetectionOutput Dropout Eltwise ELU Unique Exp ExpandDims Fill Flatten Im2Col Gather GatherV2
    Im2Seq InnerProduct Input Interp Log LRN LSTM MatMul MVN NonMaxSuppression NonMaxSuppressionV2 Normalize
    Pack Padding Permute Pooling Power PReLU PriorBox Proposal QuantizedAvgPool QuantizedBiasAdd QuantizedConcat
    QuantizedDepthwiseConv2D QuantizedLogistic RasterAndInterpolate QuantizedMaxPool Texture RasterDiff
    QuantizedReshape QuantizedSoftmax QuantizeMaxMin QuantizeV2 Range Rank ReduceJoin Reduction ReLU ReLU6
    RequantizationRange Requantize Reshape Resize RNN ROIPooling Scale Selu Seq2Out Shape Sigmoid Size Slice
    SliceTf Softmax SpaceToBatchND SpatialProduct Col2Im Segment Squeeze StridedSlice StringJoin StringSplit
    StringToNumber TanH TfQuantizedConv2D Threshold Tile TopKV2 Transpose UnaryOp Unpack Where Moments
    RNNSequenceGRU BatchMatMul Unsqueeze CosineSimilarity DepthToSpace SpaceToDepth ReverseSequence Pooling3D
    Convolution3D MatrixBandPart GatherND DetectionPostProcess UnravelIndex ScatterNd OneHot BroadcastTo
    Dilation2D Interp3D
""".split()  # noqa: SIM905

#: OpType of MNN.fbs, as far as an ONNX model becomes it.
OP_TYPES: dict[int, str] = {
    **dict(enumerate(_FIRST_OP_TYPES)),
    128: "Raster",
    129: "ConvertTensor",
    130: "ArgMin",
    131: "LinSpace",
    132: "RandomUniform",
    142: "Reverse",
    143: "ROIAlign",
    144: "RandomNormal",
    147: "EyeLike",
    148: "CumSum",
    149: "Det",
    150: "CumProd",
    151: "ScatterElements",
    152: "GatherElements",
    153: "Svd",
    154: "Histogram",
    155: "DynamicQuant",
    256: "Plugin",
    257: "Select",
    258: "ZerosLike",
    262: "Identity",
    268: "ConvTranspose3D",
    299: "Attention",
    304: "GroupNorm",
    512: "Extra",
    513: "ConvInt8",
    514: "Int8ToFloat",
    515: "DepthwiseConvInt8",
    516: "PoolInt8",
    517: "FloatToInt8",
    518: "EltwiseInt8",
    600: "While",
    601: "If",
    603: "LayerNorm",
    604: "GridSample",
}


@dataclass(frozen=True)
class TensorQuantization:
    """real = scale * (integer - zero_point), integer in [low, high]."""

    scale: float
    zero_point: int
    low: int = -128
    high: int = 127


@dataclass(frozen=True)
class Op:
    """One operator of a net.

    Attributes:
        type: MNN's name for its type.
        name: The ONNX name of its first output, mostly.
        inputs: Tensor indices.
        outputs: Tensor indices.
        parameter: Its settings, a table whose fields depend on `type`.
    """

    type: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameter: Table | None


@dataclass(frozen=True)
class Net:
    """A `.mnn` file.

    Attributes:
        buffer: The file.
        code: The `bizCode`, a text that MNN keeps and does not interpret.
        tensors: Name of each tensor.
        outputs: Names of the outputs.
        ops: In the order of execution.
        quantization: By tensor index; MNN runs an op in integers when its tensors are listed and it has a kernel.
        version: The version of the MNN converter that wrote the file.
    """

    buffer: Buffer = field(repr=False)
    code: str
    tensors: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    quantization: dict[int, TensorQuantization]
    version: str

    @property
    def inputs(self) -> tuple[Op, ...]:
        """The ops that stand for the net's inputs."""
        return tuple(op for op in self.ops if op.type == "Input")


def read_net(path: Path) -> Net:
    """Reads a `.mnn` file.

    Raises:
        SourceError: The file cannot be read or is no MNN model.
    """
    try:
        return _parse(mapped(path))
    except (ValueError, OSError) as error:
        raise not_a_model(path, str(error)) from None


def not_a_model(path: Path, reason: str) -> SourceError:
    """The error for a file that MNN cannot have written."""
    return SourceError(
        str(path), expected="an MNN model", actual=reason, cure="give a .mnn file, or convert the model again"
    )


def _parse(buffer: Buffer) -> Net:
    root = Table.root(buffer)
    tensors = tuple(root.texts(_TENSOR_NAMES))
    ops = tuple(_parse_op(table, len(tensors)) for table in root.tables(_OPS))
    if not ops or not any(op.type == "Input" for op in ops):
        raise MalformedError("no operators, or none that takes an input")
    quantization = {}
    for describe in root.tables(_DESCRIBES):
        info = describe.table(4)
        if info is not None and info.integer(4) == _INT8:
            quantization[describe.integer(1)] = TensorQuantization(
                info.number(0), int(info.number(1)), int(info.number(2, -128.0))
            )
    extra = root.table(_EXTRA_INFO)
    return Net(
        buffer,
        root.text(_BIZ_CODE),
        tensors,
        tuple(root.texts(_OUTPUT_NAMES)),
        ops,
        quantization,
        extra.text(2) if extra is not None else "",
    )


def _parse_op(table: Table, tensors: int) -> Op:
    number = table.integer(_TYPE)
    inputs = tuple(table.array(_INPUTS, np.int32).tolist())
    outputs = tuple(table.array(_OUTPUTS, np.int32).tolist())
    if any(not 0 <= index < tensors for index in (*inputs, *outputs)):
        raise MalformedError(f"op {table.text(_NAME)!r} refers to a tensor that does not exist")
    op = Op(OP_TYPES.get(number, f"OpType{number}"), table.text(_NAME), inputs, outputs, table.table(_PARAMETER))
    if op.type == "Input" and not outputs:
        raise MalformedError(f"the input {op.name!r} has no tensor")
    return op


def rewrite(net: Net, *, code: str, quantization: dict[int, TensorQuantization]) -> bytearray:
    """The file again, with another code and other tensor quantization; the same arguments give the same bytes.

    MNN's converter describes the inputs and outputs of convolutions only, and gives each file a random UUID. In its
    place comes a seal, by which `is_intact` knows the file again.
    """
    root = Table.root(net.buffer)
    front = Front(net.buffer, _ROOM * (len(quantization) + 1) + len(code.encode()))
    start = root.target(_UUID)
    if start is not None:
        # The old root stays in the file, unread; its random text must not.
        front.erase(start + 4, len(root.text(_UUID)))
    builder = front.builder
    text = builder.CreateString(code)
    identity = builder.CreateString(_NO_SEAL)
    describes = front.references([_describe(builder, index, quantization[index]) for index in sorted(quantization)])
    builder.StartObject(12)
    references = {
        _BIZ_CODE: text,
        _DESCRIBES: describes if quantization else 0,
        _UUID: identity,
        **{slot: front.at(root.target(slot)) for slot in (_EXTRA_INFO, _OPS, _OUTPUT_NAMES, _TENSOR_NAMES, _SUBGRAPHS)},
    }
    for slot, reference in references.items():
        builder.PrependUOffsetTRelativeSlot(slot, reference, 0)
    builder.PrependInt32Slot(_TENSOR_NUMBER, root.integer(_TENSOR_NUMBER), 0)
    for slot in (_FORWARD_TYPE, _SOURCE_TYPE, _USAGE):
        builder.PrependInt8Slot(slot, root.integer(slot, layout="<b"), 0)
    buffer = front.finish(builder.EndObject())
    start, seal = _seal(buffer)
    buffer[start : start + len(seal)] = seal
    return buffer


def is_intact(net: Net) -> bool:
    """Whether a file is exactly as `rewrite` wrote it; False for files from elsewhere."""
    start, seal = _seal(net.buffer)
    return start > 0 and net.buffer[start : start + len(seal)] == seal


def _seal(buffer: Buffer) -> tuple[int, bytes]:
    """Where a file's seal lies, and the SHA-256 of the rest that belongs there; at 0 when it has no room for one."""
    root = Table.root(buffer)
    target = root.target(_UUID)
    if target is None or len(root.text(_UUID)) != len(_NO_SEAL):
        return 0, b""
    start = target + 4
    view = memoryview(buffer)  # a file may be large: no copy of it
    digest = hashlib.sha256(view[:start])
    digest.update(_NO_SEAL.encode())
    digest.update(view[start + len(_NO_SEAL) :])
    return start, digest.hexdigest().encode()


def _describe(builder: flatbuffers.Builder, index: int, parameters: TensorQuantization) -> int:
    builder.StartObject(5)
    builder.PrependFloat32Slot(0, parameters.scale, 0.0)
    builder.PrependFloat32Slot(1, float(parameters.zero_point), 0.0)
    builder.PrependFloat32Slot(2, float(parameters.low), 0.0)
    builder.PrependFloat32Slot(3, float(parameters.high), 0.0)
    builder.PrependInt32Slot(4, _INT8, 0)
    info = builder.EndObject()
    builder.StartObject(5)
    # The default of `index` is 0, which MNN reads back as 0.
    builder.PrependInt32Slot(1, index, 0)
    builder.PrependUOffsetTRelativeSlot(4, info, 0)
    return int(builder.EndObject())


@dataclass(frozen=True)
class Convolution:
    """The settings of a Convolution or ConvolutionDepthwise.

    Attributes:
        weight: float32, flat; empty when the weights are stored in another form.
        stored: The weights in that other form: int8 integers after a header.
        scales: One per output channel, when quantized.
        bias: float32.
        fully_quantized: Whether activations are integers too.
    """

    weight: npt.NDArray[np.float32]
    stored: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    fully_quantized: bool


def convolution(op: Op) -> Convolution:
    """Reads the settings of a convolution."""
    assert op.parameter is not None
    quantized = op.parameter.table(3)
    return Convolution(
        weight=op.parameter.array(1, np.float32),  # type: ignore[arg-type]
        bias=op.parameter.array(2, np.float32),  # type: ignore[arg-type]
        stored=quantized.array(0, np.int8) if quantized else np.empty(0, np.int8),  # type: ignore[arg-type]
        scales=quantized.array(1, np.float32) if quantized else np.empty(0, np.float32),  # type: ignore[arg-type]
        fully_quantized=op.parameter.table(4) is not None,
    )


def blob_bytes(op: Op) -> int:
    """The size of a Const op's data."""
    if op.type != "Const" or op.parameter is None:
        return 0
    # Blob: uint8s, int8s, int32s, int64s, float32s.
    widths = {3: 1, 4: 1, 5: 4, 6: 8, 7: 4}
    return sum(width * len(op.parameter.array(slot, np.dtype(f"V{width}"))) for slot, width in widths.items())
