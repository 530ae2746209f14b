"""A recipe survives the journey through TOML, and says what is wrong with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.errors import SourceError
from edgecomp.quantization.static import StaticQuantization, StaticQuantization16
from edgecomp.recipe import DataLimits, Export, Recipe, default_recipe, load_recipe
from edgecomp.recovery.effort import INT8_STEPS
from edgecomp.target import list_targets, load_target

MINIMAL = 'schema = 1\ntarget = "pixel-8"\n'
STEP = '[[steps]]\nkind = "static-int8"\n'


def save(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("pixel-8", steps=(StaticQuantization(),)),
        Recipe("raspberry-pi-4b", precision="fp32", formats=("ort",)),
        Recipe(
            "x",
            formats=("mnn", "tflite"),
            seed=7,
            export=Export("int8", "nchw"),
            data=DataLimits(3, 4),
            steps=(StaticQuantization("entropy", per_channel=False, samples=99),),
        ),
    ],
)
def test_a_recipe_survives_the_journey(tmp_path: Path, recipe: Recipe) -> None:
    path = save(tmp_path, recipe.to_toml())
    assert load_recipe(path) == recipe
    assert load_recipe(path).to_toml() == recipe.to_toml()


def test_defaults_fill_in_what_is_left_out(tmp_path: Path) -> None:
    recipe = load_recipe(save(tmp_path, MINIMAL + STEP))
    assert recipe == Recipe("pixel-8", steps=(StaticQuantization(),))


def test_steps_that_are_left_out_are_those_of_the_precision(tmp_path: Path) -> None:
    """A recipe of a few lines is a recipe: the target may be said elsewhere, and int8 has steps by default."""
    path = save(tmp_path, '[[steps]]\nkind = "prune-channels"\n[[steps]]\nkind = "qat"\n')
    recipe = load_recipe(path, "pixel-8")
    assert recipe.target == "pixel-8"
    assert [step.kind for step in recipe.steps] == [
        "prune-channels",
        *(step.kind for step in INT8_STEPS["balanced"]),
        "qat",
    ]
    assert load_recipe(save(tmp_path, MINIMAL + 'precision = "fp32"'), "raspberry-pi-4b") == Recipe(
        "pixel-8", precision="fp32"
    )


@pytest.mark.parametrize("target", list_targets())
def test_every_target_has_a_valid_default(target: str, tmp_path: Path) -> None:
    recipe = default_recipe(load_target(target))
    assert recipe.target == target
    assert load_recipe(save(tmp_path, recipe.to_toml())) == recipe


def test_a_precision_brings_its_steps() -> None:
    profile = load_target("raspberry-pi-4b")
    assert default_recipe(profile, "fp32").steps == ()
    assert default_recipe(profile, "int8").steps == INT8_STEPS["balanced"]
    assert default_recipe(profile, "int8", "fast").steps == (StaticQuantization(),)
    assert default_recipe(profile, "int16x8").steps == (StaticQuantization16(),)
    assert replace(default_recipe(profile), precision="int8") == default_recipe(profile)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this is not TOML", "recipe.toml"),
        ("", "a target"),
        ('schema = 2\ntarget = "x"', "actual:   2"),
        ("schema = 1\n" + STEP, "cure:     add --target NAME"),
        (MINIMAL + "colour = 1\n" + STEP, "unknown key colour"),
        (MINIMAL + 'precison = "int8"\n' + STEP, "cure:     write precision"),
        (MINIMAL + "[export]\nio_type = 1\n" + STEP, r"cure:     write export\.io_dtype"),
        (MINIMAL + '[[steps]]\nkind = "prune-chanels"\n' + STEP, "cure:     write prune-channels"),
        (MINIMAL + 'precision = "int7"\n' + STEP, "precision: one of fp32, fp16, int8, int16x8"),
        (MINIMAL + "precision = 8\n" + STEP, "precision: one of"),
        (MINIMAL + 'formats = "tflite"\n' + STEP, "formats: a list"),
        (MINIMAL + "formats = []\n" + STEP, "formats: some of .*each once"),
        (MINIMAL + 'formats = ["tflite", "tflite"]\n' + STEP, "each once"),
        (MINIMAL + 'formats = ["coreml"]\n' + STEP, "formats: some of"),
        (MINIMAL + 'seed = "0"\n' + STEP, "seed: a whole number"),
        (MINIMAL + "seed = -1\n" + STEP, "seed: a whole number"),
        (MINIMAL + "seed = true\n" + STEP, "seed: a whole number"),
        (MINIMAL + "export = 3\n" + STEP, r"a table \[export\]"),
        (MINIMAL + '[export]\nio_dtype = "int4"\n' + STEP, "export.io_dtype: one of float32, int8"),
        (MINIMAL + "[export]\nlayout = 1\n" + STEP, r"unknown key export\.layout"),
        (MINIMAL + "[data]\ncalibration_samples = 0\n" + STEP, "data.calibration_samples: a whole number above 0"),
        (MINIMAL + "steps = 3", r"\[\[steps\]\] tables"),
        (MINIMAL + '[[steps]]\nkind = "magic"\n', r"steps\[0\].kind: one of .*static-int8"),
        (MINIMAL + "[[steps]]\nsamples = 1\n", r"steps\[0\].kind"),
        (MINIMAL + STEP + 'estimator = "guess"\n', r"steps\[0\].estimator: one of"),
        (MINIMAL + STEP + "per_channel = 1\n", r"steps\[0\].per_channel: true or false"),
        (MINIMAL + STEP + "sample = 1\n", r"unknown key steps\[0\].sample"),
        (MINIMAL + '[[steps]]\nkind = "smooth"\n', "a step static-int8 with precision int8"),
        (MINIMAL + 'precision = "fp32"\n' + STEP, "no step that rounds with precision fp32"),
        (MINIMAL + STEP + '[[steps]]\nkind = "prune-weights"\n', "write prune-weights, static-int8"),
        (MINIMAL + '[[steps]]\nkind = "prune-weights"\nsparsity = "half"\n' + STEP, r"steps\[0\].sparsity: a number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = save(tmp_path, text)
    with pytest.raises(SourceError, match=words) as caught:
        load_recipe(path)
    assert caught.value.subject == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        load_recipe(tmp_path / "nothing.toml")


def test_bytes_that_are_no_text_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="TOML"):
        load_recipe(path)


@pytest.mark.parametrize("multiple", ['"eight"', "true", "3", "8.0"])
def test_a_choice_among_words_and_numbers_names_them_all(multiple: str, tmp_path: Path) -> None:
    text = MINIMAL + f'[[steps]]\nkind = "prune-channels"\nmultiple = {multiple}\n' + STEP
    with pytest.raises(SourceError, match=r"steps\[0\].multiple: one of target, 1, 2, 4, 8, 16, 32"):
        load_recipe(save(tmp_path, text))


def test_a_number_that_may_be_zero_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe = Recipe("pixel-8", seed=0, steps=(LowRank(samples=0), StaticQuantization()))
    assert load_recipe(save(tmp_path, recipe.to_toml())) == recipe
    with pytest.raises(SourceError, match=r"steps\[0\].samples: a whole number, 0 or more"):
        load_recipe(save(tmp_path, recipe.to_toml().replace("samples = 0", "samples = -1")))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("equalize", {"least_gain": -1.0}),
        ("absorb-biases", {"least_gain": -1.0}),
        ("absorb-biases", {"margin": -0.1}),
        ("smooth", {"float_gain": -1.0}),
        ("gptq", {"damping": 0.0}),
        ("adaround", {"learning_rate": 0.0}),
        ("adaround", {"warmup": 1.0}),
        ("adaround-blocks", {"penalty": -1.0}),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_step(kind: str, settings: dict[str, float]) -> None:
    content = {"schema": 1, "target": "x", "steps": [{"kind": kind, **settings}]}
    with pytest.raises(SourceError, match=rf"steps\[0\].{next(iter(settings))}: "):
        Recipe.from_dict(content, subject="recipe.toml")
