"""What docs/compression.md shows is what runs."""

import re
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import prunable_networks
import torch

from edgecomp.compression.pruning.channels import ChannelPruning, CriterionName
from edgecomp.recipe import Recipe
from edgecomp.step import ModuleStep
from edgecomp.steps import STEPS

PAGE = (Path(__file__).parents[3] / "docs" / "compression.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_recipe_can_be_read() -> None:
    recipe = Recipe.from_dict(tomllib.loads(block("toml")), subject="docs/compression.md")
    assert recipe.module_steps[0] == ChannelPruning(keep=0.45, criterion="taylor")


def test_the_python_code_runs() -> None:
    module = prunable_networks.resnet().eval()
    exec(block("python"), {"module": module, "example_inputs": [torch.rand(1, 3, 16, 16)]})
    assert module[0].out_channels == 8  # type: ignore[index]


def test_every_criterion_and_budget_is_described() -> None:
    hints = get_type_hints(ChannelPruning)
    for name in (*get_args(CriterionName), *get_args(hints["of"]), *get_args(hints["scope"])):
        assert f"`{name}`" in PAGE


def test_the_steps_of_the_page_exist() -> None:
    table = PAGE.partition("| step |")[2].partition("\n\n")[0]
    steps: list[type[ModuleStep]] = [STEPS[name] for name in re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)]  # type: ignore[misc]
    assert len(steps) >= 5
    assert all(step.stage == "module" for step in steps)
