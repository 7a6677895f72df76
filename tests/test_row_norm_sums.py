# SPDX-License-Identifier: BSD-3-Clause
"""The sums behind the gradients of row norms: in the order of csrc/formulas/reduction.h, and of any number of rows."""

import brazen as bz
import numpy as np
import pytest
import reduction
from test_row_norms import _both, _draw
from tolerance import DTYPES, same_bits, tolerance


def test_column_sums_have_the_specified_order():
    x, dy, keywords = _draw("layer_norm", (3000, 6), "float32", 6)
    _, saved, gradients = _both(bz, "layer_norm", x, dy, keywords)
    xhat = (x - saved.mean[:, None]) * saved.inverse_std[:, None]
    for column in range(6):
        assert gradients.shift[column] == np.float32(reduction.ordered_sum(dy[:, column]))
        assert gradients.scale[column] == np.float32(reduction.ordered_sum((dy * xhat)[:, column]))


@pytest.mark.parametrize("samples", [1, 3, 32, 33, 100])
def test_channel_sums_have_the_specified_order(samples):
    """A channel's positions are summed in chunks, its samples in a tree, however many are kept at once; a row's sums are
    those of its channels, times their scales."""
    x, dy, keywords = _draw("group_norm", (samples, 6, 3, 50), "float32", samples)
    keywords["groups"] = 2
    _, saved, gradients = _both(bz, "group_norm", x, dy, keywords)
    x, dy = x.reshape(samples, 6, 150), dy.reshape(samples, 6, 150)
    mean, deviation = (np.repeat(a.reshape(samples, 2), 3, axis=1)[..., None] for a in (saved.mean, saved.inverse_std))
    xhat = (x - mean) * deviation
    shifts, scales = (
        [[reduction.ordered_sum(terms[n, c]) for c in range(6)] for n in range(samples)] for terms in (dy, dy * xhat)
    )
    for channel in range(6):
        assert gradients.shift[channel] == np.float32(reduction.merged([row[channel] for row in shifts]))
        assert gradients.scale[channel] == np.float32(reduction.merged([row[channel] for row in scales]))
    scale = keywords["scale"].astype("f8")
    for group in (0, 1):
        own = slice(3 * group, 3 * group + 3)
        grad, product = (reduction.merged(list(np.array(sums[0][own]) * scale[own])) for sums in (shifts, scales))
        factor = np.float64(deviation[0, 3 * group, 0])
        slope, base = np.float32(-factor * factor * (product / 450)), np.float32(-factor * (grad / 450))
        d = (dy[0, own] * keywords["scale"][own, None]).astype("f8") * factor
        expected = d + ((x[0, own] - mean[0, own]).astype("f8") * slope + base)
        given = gradients.x.reshape(samples, 6, 150)[0, own]
        assert np.abs(given - expected).max() <= 4 * tolerance("float32").unit * np.abs(expected).max()


def test_channel_sums_of_many_samples_meet_in_the_same_tree():
    """More samples than are kept at once: of two positions each, so that a sample's sum is one addition."""
    x, dy, keywords = _draw("instance_norm", (3000, 64, 2), "float32", 1)
    _, saved, gradients = _both(bz, "instance_norm", x, dy, keywords)
    xhat = (x - saved.mean.reshape(3000, 64, 1)) * saved.inverse_std.reshape(3000, 64, 1)
    for terms, given in ((dy, gradients.shift), (dy * xhat, gradients.scale)):
        expected = reduction.merged(list((terms[..., 0] + terms[..., 1]).astype("f8"))).astype("f4")
        assert not same_bits(given, expected)


def test_more_than_2_to_the_31_elements():
    """Rows that share their memory; a row number, or an element's, that went through 32 bits would be wrong."""
    one = np.random.default_rng(0).standard_normal((1, 4096)).astype("f4")
    many = np.broadcast_to(one, ((1 << 19) + 7, 4096))
    lengths = bz.row_norms(many)
    assert lengths.shape == (len(many),) and (lengths == bz.row_norms(one)).all()
    whole = bz.row_norms(many, axis=(0, 1))
    assert abs(whole / (lengths[0] * np.sqrt(len(many))) - 1) <= 4 * tolerance("float32").unit


@pytest.mark.release
@pytest.mark.timeout(300)
def test_gradients_of_more_than_2_to_the_31_elements():
    """Rows that share their memory: every gradient of a row is that of one alone, and its parameters' is the count's."""
    psutil = pytest.importorskip("psutil")
    if psutil.virtual_memory().available < 12 << 30:
        pytest.skip("needs 12 GiB of free memory")
    generator = np.random.default_rng(0)
    one, dy = (generator.standard_normal((1, 4096)).astype(DTYPES["bfloat16"]) for _ in range(2))
    count = (1 << 19) + 7
    many, many_dy = (np.broadcast_to(a, (count, 4096)) for a in (one, dy))
    scale, shift = (generator.standard_normal(4096).astype("f4") for _ in range(2))

    y, saved = bz.layer_norm(many, scale, shift)
    expected, own = bz.layer_norm(one, scale, shift)
    assert all((y[place : place + 1] == expected).all() for place in (0, 1 << 18, count - 1))
    back, alone = bz.layer_norm.backward(many_dy, saved, dx=y), bz.layer_norm.backward(dy, own)
    assert back.x is y
    assert all((y[place : place + 1] == alone.x).all() for place in (0, 1 << 18, count - 1))
    # Float32 chunks of 1,024 equal rows, then a float64 tree: no more than the chunks' own rounding.
    for given, one_row in ((back.scale, alone.scale), (back.shift, alone.shift)):
        assert np.allclose(given, one_row.astype("f8") * count, rtol=1024 * tolerance("float32").unit, atol=0)

    probabilities, row = bz.softmax(many, out=y), bz.softmax(one)
    gradient = bz.softmax.backward(many_dy, probabilities, out=probabilities)
    wanted = bz.softmax.backward(dy, row)
    assert gradient is y and all((y[place : place + 1] == wanted).all() for place in (0, 1 << 18, count - 1))
