# SPDX-License-Identifier: BSD-3-Clause
"""Metrics against scikit-learn, in one piece and batch by batch, and in the middle of an epoch."""

import copy

import brazen as bz
import numpy as np
import pytest
from brazen import metrics

RNG = np.random.default_rng(0)
N = 400
LABELS = RNG.integers(0, 5, N)
SCORES = (RNG.normal(size=(N, 5)) + 1.5 * np.eye(5)[LABELS]).astype("float32")
BINARY = RNG.integers(0, 2, N)
LOGITS = np.round(RNG.normal(size=N) + BINARY, 1)  # rounded: ties among the scores
TARGETS = RNG.normal(size=(N, 2)) + 100
PREDICTIONS = TARGETS + RNG.normal(size=(N, 2)) / 2
WEIGHTS = RNG.uniform(0.1, 2, N)


def peers():
    sk = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn")
    found = {
        "accuracy": lambda p, t, w: sk.accuracy_score(t, p.argmax(-1), sample_weight=w),
        "zero_one": lambda p, t, w: sk.zero_one_loss(t, p.argmax(-1), sample_weight=w),
        "top_k": lambda p, t, w: sk.top_k_accuracy_score(t, p, k=5 if p.shape[1] > 5 else 5, sample_weight=w),
        "confusion_matrix": lambda p, t, w: sk.confusion_matrix(t, p.argmax(-1), sample_weight=w),
        "precision": lambda p, t, w: sk.precision_score(t, p.argmax(-1), average="macro", sample_weight=w),
        "recall": lambda p, t, w: sk.recall_score(t, p.argmax(-1), average="macro", sample_weight=w),
        "f1": lambda p, t, w: sk.f1_score(t, p.argmax(-1), average="macro", sample_weight=w),
        "auc": lambda p, t, w: sk.roc_auc_score(t, p, sample_weight=w),
        "mse": lambda p, t, w: sk.mean_squared_error(t, p, sample_weight=w),
        "rmse": lambda p, t, w: sk.mean_squared_error(t, p, sample_weight=w) ** 0.5,
        "mae": lambda p, t, w: sk.mean_absolute_error(t, p, sample_weight=w),
        "r2": lambda p, t, w: sk.r2_score(t, p, sample_weight=w),
    }
    assert set(found) == set(metrics.names())
    return found


def sample(name):
    if name == "auc":
        return LOGITS, BINARY
    return (PREDICTIONS, TARGETS) if name in ("mse", "rmse", "mae", "r2") else (SCORES, LABELS)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.filterwarnings("ignore:'k'")
def test_scikit_learn_agrees(name, weighted):
    prediction, target = sample(name)
    weights = WEIGHTS if weighted else None
    expected = peers()[name](prediction, target, weights)
    found = getattr(metrics, name)(prediction, target, weights)
    assert np.allclose(found, expected, rtol=1e-10, atol=0 if np.ndim(expected) else 1e-12)


@pytest.mark.parametrize("name", metrics.names())
def test_batch_by_batch(name):
    """Any division gives the value of the whole; a state taken between two batches goes on with the same bits."""
    prediction, target = sample(name)
    whole = metrics.get(name)
    whole.update(prediction, target, WEIGHTS)
    parts = metrics.get(name)
    for place, (start, stop) in enumerate([(0, 7), (7, 200), (200, N)]):
        parts.update(prediction[start:stop], target[start:stop], WEIGHTS[start:stop])
        if place == 1:
            kept = copy.deepcopy(parts.state())
    assert np.allclose(whole.value(), parts.value(), rtol=1e-12)
    again = metrics.get(name)
    again.load_state(kept)
    again.update(prediction[200:], target[200:], WEIGHTS[200:])
    assert np.array_equal(again.value(), parts.value())
    parts.start()
    assert np.isnan(parts.value()).all() if name != "confusion_matrix" else not np.any(parts.value())


def test_two_classes():
    sk = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn")
    two = np.stack([np.zeros(N), LOGITS], axis=1)
    assert np.isclose(metrics.auc(two, BINARY), sk.roc_auc_score(BINARY, LOGITS))
    hard = (LOGITS > 0).astype(int)
    for scores in (LOGITS, LOGITS[:, None]):
        assert np.isclose(metrics.accuracy(scores, BINARY), (hard == BINARY).mean())
        assert np.isclose(metrics.f1(scores, BINARY), sk.f1_score(BINARY, hard))
        assert np.isclose(
            metrics.precision(scores, BINARY, average="macro"), sk.precision_score(BINARY, hard, average="macro")
        )
    assert np.isclose(metrics.recall(SCORES, LABELS, average="micro"), metrics.accuracy(SCORES, LABELS))
    half = metrics.accuracy(1 / (1 + np.exp(-LOGITS)), BINARY, threshold=0.5)
    assert half == metrics.accuracy(LOGITS, BINARY)


def test_probabilities_as_targets():
    assert metrics.accuracy(SCORES, np.eye(5)[LABELS]) == metrics.accuracy(SCORES, LABELS)
    assert metrics.top_k(SCORES, np.eye(5)[LABELS], k=2) == metrics.top_k(SCORES, LABELS, k=2)
    assert metrics.top_k(SCORES, LABELS, k=1) == metrics.accuracy(SCORES, LABELS)


def test_by_name_object_function():
    assert metrics.get("top_3").label == "top_3" and metrics.get(metrics.accuracy).label == "accuracy"
    made = metrics.get(lambda prediction, target: 2.0)
    made.update(SCORES, LABELS)
    assert made.value() == 2.0 and metrics.get(metrics.AUC).label == "auc"
    with pytest.raises(ValueError, match="metrics: 'acuracy' is not known; expected one of accuracy"):
        metrics.get("acuracy")
    with pytest.raises(ValueError, match="k is 0"):
        metrics.TopK(0)
    with pytest.raises(ValueError, match="average is 'none'"):
        metrics.F1("none")


def test_a_network_that_cannot_be_measured_is_refused_at_once():
    net = bz.nn.Sequential([bz.nn.Dense(3)]).build(2, seed=0)
    for metric, message in (("top_5", "top_5: the network gives 3 scores"), ("auc", "auc: the network gives 3 scores")):
        with pytest.raises(ValueError, match=message):
            bz.Trainer(net, "softmax_cross_entropy", metrics=[metric])
