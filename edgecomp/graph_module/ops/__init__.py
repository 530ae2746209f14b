"""ONNX operators in torch.

A table maps an operator to a function that reads a node's attributes once and returns a function of its inputs. Inputs
that are left out are None. Integers that an operator takes as inputs (shapes, axes, bounds) are tensors.
"""

from __future__ import annotations

from edgecomp.graph_module.ops.elementwise import ELEMENTWISE
from edgecomp.graph_module.ops.layers import LAYERS
from edgecomp.graph_module.ops.movers import MOVERS
from edgecomp.graph_module.ops.node import Build
from edgecomp.graph_module.ops.pools import POOLS
from edgecomp.graph_module.ops.recurrent import RECURRENT
from edgecomp.graph_module.ops.reductions import REDUCTIONS
from edgecomp.graph_module.ops.sampling import SAMPLING

OPS: dict[str, Build] = {**ELEMENTWISE, **LAYERS, **MOVERS, **POOLS, **RECURRENT, **REDUCTIONS, **SAMPLING}
