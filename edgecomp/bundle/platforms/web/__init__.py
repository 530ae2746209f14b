"""Web pages: an npm package of ES modules that needs no build step, for LiteRT.js and onnxruntime-web."""

from edgecomp.bundle.platform import Platform
from edgecomp.bundle.words import JAVASCRIPT

PLATFORM = Platform(
    title="the web",
    formats=("tflite", "onnxruntime"),
    assets="assets",
    keywords=JAVASCRIPT,
    shared={"core": "typescript/dist"},
)
