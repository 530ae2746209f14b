"""Every step that a recipe can have. Adding one: a file with its settings (see `edgecomp.step`) and two lines here."""

from __future__ import annotations

from edgecomp.compression.distillation.step import DistillationStep
from edgecomp.compression.fine_tuning import FineTuning
from edgecomp.compression.low_rank.embeddings import LowRankEmbeddings
from edgecomp.compression.low_rank.settings import LowRank
from edgecomp.compression.pruning.blocks import BlockPruning
from edgecomp.compression.pruning.channels import ChannelPruning
from edgecomp.compression.pruning.weights import GradualWeightPruning, WeightPruning
from edgecomp.compression.quantization_aware.step import QuantizationAwareTraining
from edgecomp.compression.training.batch_norm import BatchNormEstimation
from edgecomp.mixed_precision.step import MixedPrecision
from edgecomp.quantization.half import HalfPrecision
from edgecomp.quantization.static import StaticQuantization, StaticQuantization16
from edgecomp.quantization.weights import DynamicInt8, WeightInt4, WeightInt8
from edgecomp.recovery.absorption import BiasAbsorption
from edgecomp.recovery.adaround import AdaRound
from edgecomp.recovery.block_rounding import BlockRounding
from edgecomp.recovery.equalization import Equalization
from edgecomp.recovery.gptq import Gptq
from edgecomp.recovery.smoothing import Smoothing
from edgecomp.step import GraphStep, ModuleStep, PrecisionStep

MODULE_STEPS: tuple[type[ModuleStep], ...] = (
    WeightPruning,
    GradualWeightPruning,
    FineTuning,
    DistillationStep,
    BatchNormEstimation,
    BlockPruning,
    ChannelPruning,
    LowRank,
    LowRankEmbeddings,
)

GRAPH_STEPS: tuple[type[GraphStep], ...] = (Equalization, BiasAbsorption, Smoothing, MixedPrecision)

PRECISION_STEPS: tuple[type[PrecisionStep], ...] = (
    StaticQuantization,
    StaticQuantization16,
    HalfPrecision,
    DynamicInt8,
    WeightInt8,
    WeightInt4,
)

REFINEMENT_STEPS: tuple[type[GraphStep], ...] = (Gptq, AdaRound, BlockRounding, QuantizationAwareTraining)

#: By the name that recipes use.
STEPS: dict[str, type[ModuleStep] | type[GraphStep]] = {
    **{step.kind: step for step in MODULE_STEPS},
    **{step.kind: step for step in (*GRAPH_STEPS, *PRECISION_STEPS, *REFINEMENT_STEPS)},
}
