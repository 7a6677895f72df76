# SPDX-License-Identifier: BSD-3-Clause
"""A peer of stage bench: kernels in Triton, one element a lane, as its tutorials write them."""

import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def _relu(x, y, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < count)
    tl.store(y + at, tl.maximum(value, 0.0), mask=at < count)


@triton.jit
def _silu(x, y, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < count)
    tl.store(y + at, value * tl.sigmoid(value), mask=at < count)


@triton.jit
def _adamw(p, g, m, v, count, lr, beta1, beta2, eps, decay, correct1, correct2, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    grad = tl.load(g + at, mask=inside)
    first = beta1 * tl.load(m + at, mask=inside) + (1 - beta1) * grad
    second = beta2 * tl.load(v + at, mask=inside) + (1 - beta2) * grad * grad
    param = tl.load(p + at, mask=inside) * (1 - lr * decay)
    param -= lr * (first / correct1) / (tl.sqrt(second / correct2) + eps)
    tl.store(p + at, param, mask=inside)
    tl.store(m + at, first, mask=inside)
    tl.store(v + at, second, mask=inside)


def forward(name, x, y):
    kernel = {"relu": _relu, "silu": _silu}[name]
    kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, x.numel(), BLOCK=BLOCK)


def adamw(p, g, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=1e-2):
    correct = (1 - beta1**step, 1 - beta2**step)
    _adamw[(triton.cdiv(p.numel(), BLOCK),)](p, g, m, v, p.numel(), lr, beta1, beta2, eps, decay, *correct, BLOCK=BLOCK)
