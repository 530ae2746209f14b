"""Images lie in memory as convolutions like it while a module trains, where its code allows that."""

import pytest
import torch
from labelled import points
from torch import nn

from edgecomp.compression.training.layout import fastest_layout
from edgecomp.compression.training.objective import TaskObjective


class Viewed(nn.Module):
    """Some code relies on channels lying one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(2, 4, 3), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.convolution(x.view(-1, 1, 4, 2).repeat(1, 2, 1, 2))
        logits: torch.Tensor = self.head(features.view(len(x), -1))
        return logits


class Flattened(Viewed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.convolution(x.view(-1, 1, 4, 2).repeat(1, 2, 1, 2))
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits


@pytest.mark.parametrize(("kind", "changes"), [(Viewed, False), (Flattened, True)])
def test_a_module_is_trained_with_channels_last_where_it_works(kind: type[Viewed], changes: bool) -> None:
    module = kind()
    inputs, labels = points(6)
    before = module(inputs)
    weight = module.convolution.weight
    objective = TaskObjective(nn.functional.cross_entropy)
    with fastest_layout(module, objective, (inputs,), labels):
        features = module.convolution(torch.rand(2, 2, 4, 4))
        assert features.is_contiguous(memory_format=torch.channels_last) is changes
        torch.testing.assert_close(module(inputs), before)
    assert module.convolution.weight.is_contiguous()
    assert module.convolution(torch.rand(2, 2, 4, 4)).is_contiguous()
    assert weight.grad is None
