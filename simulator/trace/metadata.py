"""The JSON that describes a trace: what it was made from, its tensors and its kernels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NoReturn

from simulator.errors import TraceError
from simulator.trace.record import KernelHeader, TensorRange, TraceHeader
from simulator.trace.validate import ADDRESS_SPACE_BYTES

SCHEMA = "tierscope.trace/1"
BY_REQUESTER = "requester"
"""Value of the key "order" of a trace whose records are sorted by kernel and, within one, by requester."""

JSON_BYTES = 64 * 2**20
"""Longest description; it is the one part of a trace that is held whole."""

JSON_VALUES = 1 << 22
"""Most values in it; a short one takes some 200 bytes as an object for 7 as text."""

MAX_KERNELS = 1 << 18
TEXT_LENGTH = 256

_COUNT = (0, 2**63 - 1)
_NARROWER = {
    "layer": (-1, 2**31 - 1),
    "requesters": (0, 2**31 - 1),
    "threads": (1, 2**20),
    "shared_bytes": (0, 2**31 - 1),
    "registers": (0, 2**20),
    "stages": (1, 2**20),
    "prologue_ps": (0, 2**40),
    "warmup_ps": (0, 2**40),
    "run_bytes": (0, 2**31 - 1),
    "run_gap_ps": (0, 2**20),
}
_KERNEL_FIELDS = fields(KernelHeader)
_KERNEL_KEYS = tuple(field.name for field in _KERNEL_FIELDS)
_KERNEL_REQUIRED = tuple(field.name for field in _KERNEL_FIELDS if field.default is MISSING)
_KERNEL_TEXTS = tuple(field.name for field in _KERNEL_FIELDS if field.type in (str, "str"))
_KERNEL_BOUNDS = {
    field.name: _NARROWER.get(field.name, _COUNT) for field in _KERNEL_FIELDS if field.type in (int, "int")
}
_TENSOR_KEYS = tuple(field.name for field in fields(TensorRange))
_KEYS = ("schema", "order", "model", "hardware", "workload", "tensors", "kernels")


@dataclass(frozen=True)
class Metadata:
    """A description as read.  `kernels` is None when it lists none; `ordered` says that records are by requester."""

    header: TraceHeader
    kernels: tuple[KernelHeader, ...] | None
    ordered: bool


def encode(where: object, header: TraceHeader, kernels: Sequence[KernelHeader]) -> bytes:
    """Return the JSON of a trace in order of requester; raises TraceError when it gets too long."""
    tree = {
        "schema": SCHEMA,
        "order": BY_REQUESTER,
        "model": header.model,
        "hardware": header.hardware,
        "workload": header.workload,
        "tensors": [_as_dict(tensor, _TENSOR_KEYS) for tensor in header.tensors],
        "kernels": [_as_dict(kernel, _KERNEL_KEYS) for kernel in kernels],
    }
    text = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode()
    _check_size(where, text)
    return text


def decode(where: object, text: bytes) -> Metadata:
    """Return what `encode` wrote, or a part of it written by hand; raises TraceError naming the key and the remedy."""
    _check_size(where, text)
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise TraceError(f"{where}: not usable JSON: nested too deeply") from error
    except ValueError as error:
        problem = str(error).splitlines()[0]
        raise TraceError(f"{where}: not valid JSON: {problem}; write it with json.dumps") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        given = _shown(tree.get("schema")) if isinstance(tree, dict) else "no object"
        raise TraceError(f"{where}: schema is {given}, not {SCHEMA!r}; convert the trace to this version")
    _check_keys(where, tree, _KEYS, required=())
    if tree.get("order") not in (None, BY_REQUESTER):
        raise TraceError(f"{where}: order: is {_shown(tree['order'])}; write {BY_REQUESTER!r} or leave it out")
    header = TraceHeader(
        model=_object(f"{where}: model", tree.get("model", {})),
        hardware=_object(f"{where}: hardware", tree.get("hardware", {})),
        workload=_object(f"{where}: workload", tree.get("workload", {})),
        tensors=tuple(
            _tensor(f"{where}: tensors[{i}]", node)
            for i, node in enumerate(_array(f"{where}: tensors", tree.get("tensors", [])))
        ),
    )
    kernels = _kernels(f"{where}: kernels", tree["kernels"]) if "kernels" in tree else None
    return Metadata(header, kernels, ordered="order" in tree and tree["order"] == BY_REQUESTER)


def check_kernel(where: object, kernel: KernelHeader, index: int) -> None:
    """Raise TraceError unless `kernel`, the one at `index` of its run, would be read as it is."""
    tree = _as_dict(kernel, _KERNEL_KEYS)
    if kernel.after is not None:
        tree["after"] = list(kernel.after)
    _kernel(f"{where}: kernels[{index}]", tree, index)


def _check_size(where: object, text: bytes) -> None:
    if len(text) > JSON_BYTES:
        raise TraceError(f"{where}: a description of {len(text)} bytes, over {JSON_BYTES}; trace fewer steps")
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))  # or more: a text may hold such marks too
    if values > JSON_VALUES:
        raise TraceError(f"{where}: a description of {values} values, over {JSON_VALUES}; trace fewer steps")


def _kernels(where: str, node: object) -> tuple[KernelHeader, ...]:
    nodes = _array(where, node)
    if len(nodes) > MAX_KERNELS:
        raise TraceError(f"{where}: {len(nodes)} kernels, over {MAX_KERNELS}; trace fewer steps")
    return tuple(_kernel(f"{where}[{index}]", node, index) for index, node in enumerate(nodes))


def _kernel(where: str, node: object, index: int) -> KernelHeader:
    tree = _object(where, node)
    _check_keys(where, tree, _KERNEL_KEYS, required=_KERNEL_REQUIRED)
    values: dict[str, Any] = {key: _text(f"{where}.{key}", tree[key]) for key in _KERNEL_TEXTS if key in tree}
    for key, (low, high) in _KERNEL_BOUNDS.items():
        if key in tree:
            values[key] = _integer(f"{where}.{key}", tree[key], low, high)
    if tree.get("after") is not None:
        nodes = _array(f"{where}.after", tree["after"])
        values["after"] = tuple(_earlier(f"{where}.after", awaited, index) for awaited in nodes)
    return KernelHeader(**values)


def _tensor(where: str, node: object) -> TensorRange:
    tree = _object(where, node)
    _check_keys(where, tree, _TENSOR_KEYS, required=_TENSOR_KEYS)
    address = _integer(f"{where}.address", tree["address"], 0, ADDRESS_SPACE_BYTES)
    return TensorRange(
        name=_text(f"{where}.name", tree["name"]),
        tensor_class=_text(f"{where}.tensor_class", tree["tensor_class"]),
        address=address,
        bytes=_integer(f"{where}.bytes", tree["bytes"], 0, ADDRESS_SPACE_BYTES - address),
    )


def _check_keys(where: object, tree: dict[str, Any], allowed: Sequence[str], required: Sequence[str]) -> None:
    for key in tree:
        if key not in allowed:
            raise TraceError(f"{where}: unknown key {_shown(key)}; allowed: {', '.join(allowed)}")
    for key in required:
        if key not in tree:
            raise TraceError(f"{where}: {key}: missing; add this key")


def _integer(where: str, node: object, low: int, high: int) -> int:
    if isinstance(node, bool) or not isinstance(node, int) or not low <= node <= high:
        raise TraceError(f"{where}: is {_shown(node)}; write an integer from {low} to {high}")
    return node


def _earlier(where: str, node: object, index: int) -> int:
    if isinstance(node, bool) or not isinstance(node, int) or not 0 <= node < index:
        raise TraceError(f"{where}: has {_shown(node)}; list indices of kernels before this one, from 0")
    return node


def _text(where: str, node: object) -> str:
    if not isinstance(node, str) or not node.isprintable() or len(node) > TEXT_LENGTH:
        raise TraceError(f"{where}: is {_shown(node)}; write at most {TEXT_LENGTH} printable characters")
    return node


def _object(where: str, node: object) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise TraceError(f"{where}: is {_shown(node)}; write an object")
    return node


def _array(where: str, node: object) -> list[Any]:
    if not isinstance(node, list):
        raise TraceError(f"{where}: is {_shown(node)}; write an array")
    return node


def _as_dict(instance: object, keys: Sequence[str]) -> dict[str, Any]:
    return {key: getattr(instance, key) for key in keys}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _shown(node: object) -> str:
    if isinstance(node, dict | list):
        return "an object" if isinstance(node, dict) else "an array"
    if isinstance(node, int) and abs(node) >= 10**20:
        return "a huge integer"
    text = ascii(node)
    return text if len(text) <= 40 else text[:37] + "..."
