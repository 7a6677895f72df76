# SPDX-License-Identifier: BSD-3-Clause
"""What PyTorch calls for each activation, every way it has: fresh results, `out=`, in place, compiled. A table only.

`x`, `dy`: inputs; `y`: where a forward result goes, `dx`: a gradient; `z`: a copy of x to overwrite; `s`: the saved
forward result and `b` log_sigmoid's saved buffer, which autograd keeps and so costs nothing here; `a`: alpha.
An operation PyTorch has no kernel for is not listed, unless its users write it as one short line of two kernels.
"""

from __future__ import annotations

import ast
import copy
import functools
from typing import Any

from .case import Side, compiled

# name: (allocating, preallocated), (allocating, preallocated) for forward and backward.
Ways = tuple[tuple[str, ...], tuple[str, ...]]
# Elements below which one thread is tried too.
_ALONE = 1 << 20
_SELU = "1.6732632423543772, 1.0507009873554805"

_TABLE: dict[str, tuple[Ways, Ways]] = {
    "linear": ((("x.clone()",), ("y.copy_(x)",)), (("dy.clone()",), ("dx.copy_(dy)",))),
    "relu": (
        (
            ("torch.relu(x)", "torch.clamp_min(x, 0)"),
            ("torch.clamp_min(x, 0, out=y)", "torch.relu_(z)", "torch.clamp_min_(z, 0)"),
        ),
        (("aten.threshold_backward(dy, x, 0)",), ("aten.threshold_backward.grad_input(dy, x, 0, grad_input=dx)",)),
    ),
    "relu6": (
        (
            ("nn.hardtanh(x, 0, 6)", "torch.clamp(x, 0, 6)"),
            ("nn.hardtanh(x, 0, 6, out=y)", "torch.clamp(x, 0, 6, out=y)", "nn.hardtanh_(z, 0, 6)"),
        ),
        (("aten.hardtanh_backward(dy, x, 0, 6)",), ("aten.hardtanh_backward.grad_input(dy, x, 0, 6, grad_input=dx)",)),
    ),
    "leaky_relu": (
        (("nn.leaky_relu(x, 0.01)",), ("nn.leaky_relu(x, 0.01, out=y)", "nn.leaky_relu_(z, 0.01)")),
        (
            ("aten.leaky_relu_backward(dy, x, 0.01, False)",),
            ("aten.leaky_relu_backward.grad_input(dy, x, 0.01, False, grad_input=dx)",),
        ),
    ),
    "prelu": (
        (("torch.prelu(x, a)",), ()),
        (("d, w = aten._prelu_kernel_backward(dy, x, a); w.sum()",), ()),
    ),
    "prelu.channels": (
        (("torch.prelu(x, a)",), ()),
        (("d, w = aten._prelu_kernel_backward(dy, x, a.view(1, -1, 1)); w.sum((0, 2))",), ()),
    ),
    "elu": (
        (("nn.elu(x)",), ("nn.elu(x, out=y)", "nn.elu_(z)")),
        (
            ("aten.elu_backward(dy, 1, 1, 1, True, s)", "aten.elu_backward(dy, 1, 1, 1, False, x)"),
            (
                "aten.elu_backward.grad_input(dy, 1, 1, 1, True, s, grad_input=dx)",
                "aten.elu_backward.grad_input(dy, 1, 1, 1, False, x, grad_input=dx)",
            ),
        ),
    ),
    "celu": (
        (("torch.celu(x)", "nn.elu(x)"), ("torch.celu_(z)", "nn.elu(x, out=y)")),
        (
            ("aten.elu_backward(dy, 1, 1, 1, True, s)",),
            ("aten.elu_backward.grad_input(dy, 1, 1, 1, True, s, grad_input=dx)",),
        ),
    ),
    "selu": (
        (("torch.selu(x)", f"nn.elu(x, {_SELU})"), ("torch.selu_(z)", f"nn.elu(x, {_SELU}, out=y)")),
        (
            (f"aten.elu_backward(dy, {_SELU}, 1, True, s)",),
            (f"aten.elu_backward.grad_input(dy, {_SELU}, 1, True, s, grad_input=dx)",),
        ),
    ),
    "gelu": (
        (("nn.gelu(x)",), ("nn.gelu(x, out=y)", "nn.gelu_(z)")),
        (("aten.gelu_backward(dy, x)",), ("aten.gelu_backward.grad_input(dy, x, grad_input=dx)",)),
    ),
    "gelu_tanh": (
        (
            ("nn.gelu(x, approximate='tanh')",),
            ("nn.gelu(x, approximate='tanh', out=y)", "nn.gelu_(z, approximate='tanh')"),
        ),
        (
            ("aten.gelu_backward(dy, x, approximate='tanh')",),
            ("aten.gelu_backward.grad_input(dy, x, approximate='tanh', grad_input=dx)",),
        ),
    ),
    "silu": (
        (("nn.silu(x)",), ("nn.silu(x, out=y)", "nn.silu_(z)")),
        (("aten.silu_backward(dy, x)",), ("aten.silu_backward.grad_input(dy, x, grad_input=dx)",)),
    ),
    "mish": (
        (("nn.mish(x)",), ("nn.mish(x, out=y)", "nn.mish_(z)")),
        (("aten.mish_backward(dy, x)",), ()),
    ),
    "sigmoid": (
        (("torch.sigmoid(x)",), ("torch.sigmoid(x, out=y)", "torch.sigmoid_(z)")),
        (("aten.sigmoid_backward(dy, s)",), ("aten.sigmoid_backward.grad_input(dy, s, grad_input=dx)",)),
    ),
    "log_sigmoid": (
        (("nn.log_sigmoid(x)",), ("nn.log_sigmoid(x, out=y)",)),
        (("aten.log_sigmoid_backward(dy, x, b)",), ("aten.log_sigmoid_backward.grad_input(dy, x, b, grad_input=dx)",)),
    ),
    "tanh": (
        (("torch.tanh(x)",), ("torch.tanh(x, out=y)", "torch.tanh_(z)")),
        (("aten.tanh_backward(dy, s)",), ("aten.tanh_backward.grad_input(dy, s, grad_input=dx)",)),
    ),
    "softplus": (
        (("nn.softplus(x)",), ("nn.softplus(x, 1, 20, out=y)",)),
        (
            ("aten.softplus_backward(dy, x, 1, 20)",),
            ("aten.softplus_backward.grad_input(dy, x, 1, 20, grad_input=dx)",),
        ),
    ),
    "softsign": ((("F.softsign(x)",), ()), ((), ())),
    "exponential": (
        (("torch.exp(x)",), ("torch.exp(x, out=y)", "torch.exp_(z)")),
        (("torch.mul(dy, s)",), ("torch.mul(dy, s, out=dx)",)),
    ),
    "hard_sigmoid": (
        (("nn.hardsigmoid(x)",), ("nn.hardsigmoid(x, out=y)",)),
        (("aten.hardsigmoid_backward(dy, x)",), ("aten.hardsigmoid_backward.grad_input(dy, x, grad_input=dx)",)),
    ),
    "hard_tanh": (
        (
            ("nn.hardtanh(x)", "torch.clamp(x, -1, 1)"),
            ("nn.hardtanh(x, out=y)", "torch.clamp(x, -1, 1, out=y)", "nn.hardtanh_(z)"),
        ),
        (
            ("aten.hardtanh_backward(dy, x, -1, 1)",),
            ("aten.hardtanh_backward.grad_input(dy, x, -1, 1, grad_input=dx)",),
        ),
    ),
    "hard_silu": (
        (("nn.hardswish(x)",), ("nn.hardswish(x, out=y)", "nn.hardswish_(z)")),
        (("aten.hardswish_backward(dy, x)",), ()),
    ),
    "hard_shrink": (
        (("torch.hardshrink(x, 0.5)",), ("torch.hardshrink(x, 0.5, out=y)",)),
        (
            ("aten.hardshrink_backward(dy, x, 0.5)",),
            ("aten.hardshrink_backward.grad_input(dy, x, 0.5, grad_input=dx)",),
        ),
    ),
    "soft_shrink": (
        (("nn.softshrink(x, 0.5)",), ("nn.softshrink(x, 0.5, out=y)",)),
        (
            ("aten.softshrink_backward(dy, x, 0.5)",),
            ("aten.softshrink_backward.grad_input(dy, x, 0.5, grad_input=dx)",),
        ),
    ),
    "tanh_shrink": ((("F.tanhshrink(x)",), ()), ((), ())),
    "threshold": (
        (
            ("torch.threshold(x, 0.5, -1.0)",),
            ("torch.threshold(x, 0.5, -1.0, out=y)", "torch.threshold_(z, 0.5, -1.0)"),
        ),
        (("aten.threshold_backward(dy, x, 0.5)",), ("aten.threshold_backward.grad_input(dy, x, 0.5, grad_input=dx)",)),
    ),
    "glu": (
        (("nn.glu(x, -1)",), ("nn.glu(x, -1, out=y)",)),
        (("aten.glu_backward(dy, x, -1)",), ("aten.glu_backward.grad_input(dy, x, -1, grad_input=dx)",)),
    ),
    "reglu": ((("torch.relu(g).mul_(v)",), ("torch.clamp_min(g, 0, out=y).mul_(v)",)), ((), ())),
    "geglu": ((("nn.gelu(g).mul_(v)",), ("nn.gelu(g, out=y).mul_(v)",)), ((), ())),
    "swiglu": ((("nn.silu(g).mul_(v)",), ("nn.silu(g, out=y).mul_(v)",)), ((), ())),
    "maxout": (
        (
            ("pairs.amax(-1)", "torch.maximum(even, odd)"),
            ("torch.amax(pairs, -1, out=y)", "torch.maximum(even, odd, out=y)"),
        ),
        ((), ()),
    ),
}


def start(threads: int) -> None:
    """PyTorch as it is fastest on these operations: our thread count, no autograd."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def sides(
    name: str, direction: str, tensors: dict[str, Any], alpha, compile_too: bool = False
) -> dict[str, list[Side]]:
    """The candidates of each column, on tensors of roles x, dy, out, scratch; empty where PyTorch lacks the operation.

    Within the caches one thread may be faster than all, so there each way is a candidate twice.
    """
    if name not in _TABLE:
        return {}
    import torch
    import torch.nn.functional as F

    allocating, preallocated = _TABLE[name][direction == "backward"]
    x, target = tensors["x"], "dx" if direction == "backward" else "y"
    names: dict[str, Any] = {
        "torch": torch,
        "F": F,
        "nn": torch._C._nn,
        "aten": torch.ops.aten,
        "x": x,
        "dy": tensors["dy"],
        target: tensors["out"],
    }
    statements = [*allocating, *preallocated]
    if alpha is not None:
        names["a"] = torch.from_numpy(alpha)
    if any("s" in _names(text) for text in statements):
        names["s"] = Side(_TABLE[name][0][0][0], **_used(_TABLE[name][0][0][0], names))()
    if name == "log_sigmoid":
        names["b"] = torch.ops.aten.log_sigmoid_forward(x)[1]
    if name.endswith("glu") and direction == "forward":
        names["v"], names["g"] = x.chunk(2, -1)
    if name == "maxout":
        names.update(pairs=x.unflatten(-1, (-1, 2)), even=x[..., 0::2], odd=x[..., 1::2])
    columns: dict[str, list[Side]] = {}
    for column, texts in (("allocating", allocating), ("preallocated", preallocated)):
        columns[column] = [_side(text, names, tensors) for text in texts]
        if compile_too and allocating and ";" not in allocating[0]:
            columns[column].append(_compiled(allocating[0], names, target if column == "preallocated" else ""))
    all_threads = torch.get_num_threads()
    for column, candidates in columns.items():
        alone = [copy.copy(side) for side in candidates] if x.numel() < _ALONE and all_threads > 1 else []
        for side in candidates:
            side.enter = functools.partial(torch.set_num_threads, all_threads)
        for side in alone:
            side.enter, side.note = functools.partial(torch.set_num_threads, 1), "  # one thread"
        columns[column] = candidates + alone
    return {column: candidates for column, candidates in columns.items() if candidates}


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _used(text: str, names: dict[str, Any]) -> dict[str, Any]:
    wanted = _names(text)
    return {name: value for name, value in names.items() if name in wanted}


def _side(text: str, names: dict[str, Any], tensors: dict[str, Any]) -> Side:
    if "z" not in _names(text):
        return Side(text, **_used(text, names))
    return Side(text, "z.copy_(original)", **_used(text, names), z=tensors["scratch"], original=tensors["x"])


def _compiled(text: str, names: dict[str, Any], target: str) -> Side:
    """The first allocating way as torch.compile makes it, written into `target` where one is given."""
    import torch

    used = _used(text, names)
    arrays = [name for name, value in used.items() if isinstance(value, torch.Tensor)] + ([target] if target else [])
    others = {name: value for name, value in used.items() if name not in arrays}
    function = compiled(f"return {target}.copy_({text})" if target else f"return {text}", ", ".join(arrays), others)
    bound = {name: names[name] for name in arrays}
    side = Side(f"compiled({', '.join(arrays)})", compiled=torch.compile(function, dynamic=False), **bound)
    side()  # compiles
    return side
