"""React Native: the TypeScript code of the web with ONNX Runtime's package; the app decides how to read the assets."""

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import JAVASCRIPT

PLATFORM = Platform(
    title="React Native",
    formats=("onnxruntime", "ort"),
    assets="assets",
    keywords=JAVASCRIPT,
    shared={"core": "typescript/dist"},
)
