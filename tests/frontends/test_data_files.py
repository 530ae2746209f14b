"""Calibration data from archives, folders, pictures and functions."""

import numpy as np
import pytest
from PIL import Image

from edgecomp.data import InputSpec, collect_calibration
from edgecomp.errors import DataError, InputError, SourceError
from edgecomp.frontends.data_files import open_data
from edgecomp.frontends.pictures import Preprocessing

SPECS = (InputSpec("image", "float32", (1, 2)), InputSpec("gain", "float32", (1, 1)))
ONE = SPECS[:1]
IMAGES = np.arange(10, dtype=np.float32).reshape(5, 2)
GAINS = np.ones((5, 1), np.float32)


def read(place, specs=ONE, **arguments):
    data = collect_calibration(open_data(place, specs, **arguments), specs, subject=str(place))
    return [np.concatenate(column) for column in zip(*data, strict=True)]


def test_archive(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, gain=GAINS, image=IMAGES)
    image, gain = read(path, SPECS)
    np.testing.assert_array_equal(image, IMAGES)
    np.testing.assert_array_equal(gain, GAINS)


SOUND, STATE = InputSpec("sound", "float32", (1, 4)), InputSpec("state", "float32", (2, 1, 3))
STATES = np.arange(30, dtype=np.float32).reshape(5, 2, 1, 3)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("states", [STATES, STATES.reshape(10, 1, 3)], ids=["stacked", "one after another"])
def test_inputs_without_an_axis_of_samples(tmp_path, states, order):
    sounds, gains = np.ones((5, 4), np.float32), np.arange(5, dtype=np.float32)
    np.savez(tmp_path / "data.npz", sound=sounds, state=np.asarray(states, order=order), gain=gains)
    specs = (SOUND, STATE, InputSpec("gain", "float32", ()))
    data = collect_calibration(open_data(tmp_path / "data.npz", specs), specs, subject="data.npz")
    assert data.samples == 5
    for index, (sound, state, gain) in enumerate(data):
        assert sound.shape == (1, 4)
        np.testing.assert_array_equal(state, STATES[index])
        assert gain == index


def test_compressed_archive_in_fortran_order(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, image=np.asfortranarray(IMAGES))
    np.testing.assert_array_equal(read(str(path))[0], IMAGES)


def test_folder_of_arrays(tmp_path):
    np.save(tmp_path / "b.npy", IMAGES[2])  # one sample without the batch axis
    np.save(tmp_path / "a.npy", IMAGES[:2])
    np.savez(tmp_path / "c.npz", image=IMAGES[3:])
    (tmp_path / "readme.txt").write_text("ignored")
    np.testing.assert_array_equal(read(tmp_path)[0], IMAGES)


def test_function(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import numpy as np\ndef data():\n    yield np.ones((3, 2), np.float32)")
    assert read(f"{path}:data")[0].shape == (3, 2)
    with pytest.raises(SourceError, match=r"a function nothing\(\)"):
        read(f"{path}:nothing")
    with pytest.raises(SourceError, match="no such file"):
        read(f"{tmp_path / 'other.py'}:data")


def picture(path, color=(255, 0, 128), size=(40, 20)):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_folder_of_pictures(tmp_path):
    picture(tmp_path / "dogs" / "b.png", (0, 0, 0))
    picture(tmp_path / "cats" / "a.png")
    spec = InputSpec("image", "float32", (1, 3, 8, 8))
    steps = Preprocessing.parse("resize=10,crop=8,mean=0.5,std=0.25:0.5:1")
    (images,) = read(tmp_path, (spec,), preprocessing=steps)
    assert images.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(images[0, :, 0, 0], [2, -1, 128 / 255 - 0.5], atol=1e-6)


def test_preprocessing_steps():
    image = Image.new("RGB", (30, 20), (10, 20, 30))
    assert Preprocessing().apply(image).shape == (1, 3, 20, 30)
    assert Preprocessing(crop=8, layout="nhwc").apply(image).shape == (1, 8, 8, 3)
    assert Preprocessing(resize=10).apply(image).shape == (1, 3, 10, 15)
    assert Preprocessing(channels="gray", scale=1).apply(image).shape == (1, 1, 20, 30)
    bgr = Preprocessing.parse("scale=1,mean=10,std=10,channels=bgr,interpolation=bicubic").apply(image)
    assert bgr[0, :, 0, 0].tolist() == [2, 1, 0]
    assert bgr.dtype == np.float32
    assert bgr.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        ("size=3", "--preprocess", "the keys resize, crop"),
        ("resize=big", "--preprocess: resize", "a positive whole number"),
        ("crop=0", "--preprocess: crop", "a positive whole number"),
        ("mean=1:2", "--preprocess: mean", "1 or 3 numbers"),
        ("std=0", "--preprocess: std", "1 or 3 numbers that are not zero"),
        ("scale=-1", "--preprocess: scale", "a positive number"),
        ("layout=chwn", "--preprocess: layout", "nchw or nhwc"),
        (3, "--preprocess", "a string such as"),
    ],
)
def test_unusable_preprocessing(text, subject, expected):
    with pytest.raises(InputError) as caught:
        Preprocessing.parse(text)
    assert caught.value.exit_code == 2
    assert caught.value.subject == subject
    assert expected in caught.value.expected
    assert "resize=256" in caught.value.cure


def make(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_unusable_archives(tmp_path):
    cases = [
        ({"picture": IMAGES}, "the arrays image", "picture"),
        ({"image": IMAGES, "gain": GAINS}, "the arrays image", "gain, image"),
        ({"image": np.array([object()])}, "arrays of numbers", "Python objects"),
        ({"image": np.float32(3)}, "arrays of numbers", "a single number"),
        ({"image": IMAGES[:0]}, "at least one item", "none"),
    ]
    for arrays, expected, actual in cases:
        with pytest.raises(DataError) as caught:
            read(make(tmp_path, **arrays))
        assert caught.value.exit_code == 2
        assert expected in caught.value.expected
        assert actual in caught.value.actual
    with pytest.raises(DataError, match="image 5 times, gain 4 times"):
        read(make(tmp_path, image=IMAGES, gain=GAINS[:4]), SPECS)
    with pytest.raises(DataError, match="sound as Nx1x4, state as Nx2x1x3"):
        read(make(tmp_path, sound=np.ones((5, 4)), state=STATES[:3]), (SOUND, STATE))


def test_damaged_files(tmp_path):
    path = make(tmp_path, image=IMAGES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="BadZipFile"):
        read(path)
    path.unlink()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(DataError, match=r"as numpy\.save"):
        read(tmp_path)
    np.save(tmp_path / "a.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="never read"):
        read(tmp_path)
    with pytest.raises(DataError, match="holds one array"):
        read(tmp_path, SPECS)


def test_unusable_places(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"files that end in \.npy"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"a file with the suffix '\.txt'"):
        read(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "missing.npz")
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="--preprocess with a folder of pictures"):
        read(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(DataError) as caught:
        read(tmp_path, preprocessing=Preprocessing())
    assert caught.value.subject == str(tmp_path / "a.png")
    assert "UnidentifiedImageError" in caught.value.actual


def test_missing_pillow(tmp_path, monkeypatch):
    import sys

    from edgecomp.errors import MissingToolchainError

    picture(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingToolchainError) as caught:
        read(tmp_path, preprocessing=Preprocessing())
    assert caught.value.cure == "run `pip install pillow`"
