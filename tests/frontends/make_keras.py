"""Makes Keras models, and what TensorFlow itself says that they compute; test_keras runs it in a process of its own.

Usage: make_keras.py FOLDER. Writes NAME.keras, NAME.h5, NAME/ (a SavedModel), NAME.tflite (by TensorFlow's own
converter) and NAME.npz with an input and the output for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def mobilenet() -> keras.Model:
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(image)
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for index, (channels, stride) in enumerate([(16, 2), (16, 1)]):
        y = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"depthwise{index}")(x)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.Conv2D(channels, 1, name=f"pointwise{index}")(y)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, activation="softmax", name="head")(x))


def recurrent() -> keras.Model:
    steps = keras.Input((12, 6), name="steps")
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both")(steps)
    x = layers.GRU(7, return_sequences=True, name="reset_after")(x)
    x = layers.GRU(7, reset_after=False, name="reset_before")(x)
    return keras.Model(steps, layers.Dense(3, name="head")(x))


def sentences() -> keras.Model:
    words = keras.Input((9,), dtype="int32", name="words")
    x = layers.Embedding(5, 4, mask_zero=True)(words)
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True), name="masked")(x)
    x, hidden, memory = layers.LSTM(6, return_sequences=True, return_state=True, name="stateful")(x, mask=None)
    x = layers.LSTM(6, recurrent_activation="hard_sigmoid", name="unusual")(x, initial_state=[hidden, memory])
    return keras.Model(words, layers.Dense(3, name="head")(x))


def film() -> keras.Model:
    frames = keras.Input((3, 6, 6, 2), name="frames")
    x = layers.ConvLSTM2D(4, 3, padding="same", name="frame_by_frame")(frames)
    return keras.Model(frames, layers.GlobalAveragePooling2D()(x))


def main(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    for make in (mobilenet, recurrent, sentences, film):
        name, model = make.__name__, make()
        for variable in model.variables:  # what training would have left
            if "moving" in variable.path or "bias" in variable.path or "beta" in variable.path:
                variable.assign(np.random.default_rng(3).random(variable.shape) + 0.5)
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.export(folder / name, verbose=False)
        generator, shape = np.random.default_rng(2), (1, *model.input_shape[1:])
        example = (
            generator.integers(0, 5, shape, np.int32) if name == "sentences" else generator.random(shape, np.float32)
        )
        np.savez(folder / f"{name}.npz", input=example, output=np.asarray(model(example, training=False)))
        if name == "mobilenet":
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            (folder / f"{name}.tflite").write_bytes(converter.convert())
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Lambda(lambda x: x + 1)(inputs)).save(folder / "code.keras")
    free = keras.Input((None, 6), name="steps")
    keras.Model(free, layers.Dense(2, name="head")(free)).save(folder / "free.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
