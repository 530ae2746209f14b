"""React Native: the TypeScript of the web with ONNX Runtime's package, and assets that the app reads its own way."""

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import JAVASCRIPT

PLATFORM = Platform(
    title="React Native",
    formats=("onnxruntime", "ort"),
    assets="assets",
    keywords=JAVASCRIPT,
    shared={"core": "typescript/dist"},
)
