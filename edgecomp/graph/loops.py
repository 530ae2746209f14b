"""Loops as TensorFlow writes them, made plain: they carry what changes, and their number of turns is a constant.

A loop counts when what ends it depends on nothing but counters, as in `while step < 12 and turn < limit`. Then the part
of the body that counts is run alone.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import before_identities, constant, input_of, required_constant, turns_of
from edgecomp.graph.values import add_constant, take_place

#: A loop that counts further than this stays as it is.
_MOST_TURNS = 10_000


def capture_invariants(model: ir.Model) -> bool:
    """Has a Loop read from outside what it carries unchanged, such as weights, in place; returns whether one did."""
    changed = False
    for node in tuple(model.graph.all_nodes()):
        if node.op_type != "Loop" or node.domain not in {"", "ai.onnx"}:
            continue
        body = node.attributes["body"].as_graph()
        places = range(len(node.inputs) - 2)
        kept = [place for place in places if not _is_invariant(node, body, place)]
        if len(kept) == len(places):
            continue
        for place in sorted(set(places) - set(kept), reverse=True):
            value = node.inputs[place + 2]
            assert value is not None
            body.outputs.pop(place + 1)
            body.inputs.pop(place + 2).replace_all_uses_with(value)
            node.outputs[place].replace_all_uses_with(value)
        _narrow(node, kept, len(places))
        changed = True
    return changed


def _is_invariant(loop: ir.Node, body: ir.Graph, place: int) -> bool:
    """Whether what is carried at a place is given on as it was; an output of the graph needs the name that it has."""
    parameter, given = body.inputs[place + 2], before_identities(body.outputs[place + 1])
    once = sum(output is parameter for output in body.outputs) <= 1
    return given is parameter and once and not loop.outputs[place].is_graph_output()


def _narrow(loop: ir.Node, kept: list[int], carried: int) -> None:
    """Replaces a Loop by one that carries less; its body does so already."""
    inputs = [*loop.inputs[:2], *(loop.inputs[place + 2] for place in kept)]
    old = [*(loop.outputs[place] for place in kept), *loop.outputs[carried:]]
    new = ir.Node("", "Loop", inputs, loop.attributes.values(), num_outputs=len(old), name=loop.name)
    new.metadata_props.update(loop.metadata_props)
    graph = loop.graph
    assert graph is not None
    graph.insert_before(loop, new)
    for before, after in zip(old, new.outputs, strict=True):
        after.shape, after.type = before.shape, before.type
        take_place(after, before)
    graph.remove(loop, safe=True)


def settle_turns(model: ir.Model) -> bool:
    """Gives every Loop that counts its number of turns as a constant, in place; returns whether there was one."""
    changed = False
    for node in tuple(model.graph.all_nodes()):
        if node.op_type != "Loop" or node.domain not in {"", "ai.onnx"} or turns_of(node) is not None:
            continue
        turns = _turns(node, model)
        if turns is not None:
            _settle(node, turns)
            changed = True
    return changed


def _settle(loop: ir.Node, turns: int) -> None:
    graph, body = loop.graph, loop.attributes["body"].as_graph()
    assert graph is not None
    name = f"{loop.outputs[0].name}/turns"
    loop.replace_input_with(0, add_constant(graph, name, np.array(turns, np.int64)))
    goes_on = ir.node("Identity", [body.inputs[1]], name=f"{loop.name}/goes_on")
    told = goes_on.outputs[0]
    told.name, told.shape, told.type = f"{name}/goes_on", ir.Shape(()), ir.TensorType(ir.DataType.BOOL)
    body.append(goes_on)
    body.outputs[0] = told


def _turns(loop: ir.Node, model: ir.Model) -> int | None:
    """How many turns a Loop makes whose condition counts; None if it does something else."""
    from edgecomp.graph.session import Session

    given, first = input_of(loop, 0), constant(input_of(loop, 1))
    limit = _MOST_TURNS + 1 if given is None else constant(given)
    counters = _counters(loop)
    if limit is None or (first is None and input_of(loop, 1) is not None) or counters is None:
        return None
    if first is not None and not first.all():
        return 0
    body = loop.attributes["body"].as_graph()
    inputs = [body.inputs[index] for index in counters]
    outputs = [body.outputs[0], *(body.outputs[index - 1] for index in counters)]
    try:
        part = ir.convenience.extract(body, [*body.inputs[:2], *inputs], outputs)
        part.opset_imports.update(model.opset_imports)
        session = Session(ir.Model(part, ir_version=model.ir_version), optimize=False, lasting=False)
    # Of the many ways in which such a piece may not be a model of its own, none says more than that.
    except Exception:
        return None
    state = [required_constant(input_of(loop, index)) for index in counters]
    for turn in range(min(int(np.reshape(limit, -1)[0]), _MOST_TURNS + 1)):
        if turn == _MOST_TURNS:
            return None
        goes_on, *state = session.run([np.array(turn), np.array(True), *state])
        if not goes_on.all():
            return turn + 1
    return max(int(np.reshape(limit, -1)[0]), 0)


def _counters(loop: ir.Node) -> list[int] | None:
    """Indices of the carried values that decide whether a Loop goes on; None if they hang on more than counting."""
    body = loop.attributes["body"].as_graph()
    places = {value: index for index, value in enumerate(body.inputs)}
    counters: list[int] = []
    waiting, seen = [body.outputs[0]], set()
    while waiting:
        value = waiting.pop()
        if value in seen or constant(value) is not None:
            continue
        seen.add(value)
        producer, place = value.producer(), places.get(value)
        if place is not None and place > 1:
            if constant(input_of(loop, place)) is None:
                return None
            counters.append(place)
            waiting.append(body.outputs[place - 1])
        elif producer is not None and producer.graph is body and not _has_graphs(producer):
            waiting.extend(each for each in producer.inputs if each is not None)
        elif place is None:
            return None
    return sorted(counters)


def _has_graphs(node: ir.Node) -> bool:
    return any(
        attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} for attribute in node.attributes.values()
    )
