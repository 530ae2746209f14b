"""iOS: a Swift package with resources, for LiteRT and ONNX Runtime, and for MNN with an adapter in the app."""

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import SWIFT

PLATFORM = Platform(
    title="iOS",
    formats=("tflite", "onnxruntime", "mnn"),
    assets="Sources/_CLASS_/Resources",
    keywords=SWIFT,
)
