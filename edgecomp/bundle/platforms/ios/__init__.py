"""iOS: a Swift package with resources, for LiteRT and ONNX Runtime, and MNN through an adapter of the app's own."""

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import SWIFT

PLATFORM = Platform(
    title="iOS",
    formats=("tflite", "onnxruntime", "mnn"),
    assets="Sources/_CLASS_/Resources",
    keywords=SWIFT,
)
