# SPDX-License-Identifier: BSD-3-Clause
"""What people pass for arrays and batches: lists, tables, tensors, files, another library's loader."""

import brazen as bz
import numpy as np
import pytest
from training import X, Y, trainer


def test_what_people_pass_for_arrays(torch):
    """Lists, PyTorch's tensors, a pair as a list, arrays that read from a file, tables whose labels are in another order."""

    class Labelled:
        """As pandas' Series: indexing goes by label."""

        iloc = None

        def __init__(self, values):
            self.values, self.dtype, self.shape = values, values.dtype, values.shape

        def __len__(self):
            return len(self.values)

        def __array__(self, dtype=None, copy=None):
            return self.values

        def __getitem__(self, key):
            raise KeyError("labels")

    class OfFile:
        """As h5py's datasets: only what is asked for is read."""

        def __init__(self, values):
            self.values, self.dtype, self.shape, self.asked = values, values.dtype, values.shape, 0

        def __len__(self):
            return len(self.values)

        def __getitem__(self, key):
            assert (np.diff(key) > 0).all(), "rows are read in rising order"
            self.asked += 1
            return self.values[key]

    of_file = OfFile(X)
    results = []
    for x, y in (
        (X, Y),
        (X.tolist(), Y.tolist()),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (Labelled(X), Labelled(Y)),
        (of_file, Y),
    ):
        made = trainer()
        history = made.fit(x, y, epochs=2, batch_size=10, validation_data=[X, Y], verbose=0)
        results.append((made.model.net.arena.copy(), history["val_loss"]))
    for arena, losses in results[1:]:
        assert (arena == results[0][0]).all() and losses == results[0][1]
    assert of_file.asked == 8
    batches = torch.utils.data.DataLoader(list(zip(X, Y.tolist())), batch_size=10)
    made = trainer()
    assert made.fit(batches, epochs=2, validation_data=batches, verbose=0)["val_loss"][-1] < np.log(4)
    with pytest.raises(ValueError, match=r"x of a batch has shape \(10, 5\); expected \(samples, 6\)"):
        net = bz.nn.Sequential([bz.nn.Dense(3)]).build(6, seed=0)
        bz.Trainer(net, "softmax_cross_entropy").fit(batches, verbose=0)
    with pytest.raises(TypeError, match="callbacks is .*; expected a list of callbacks"):
        trainer().fit(X, Y, callbacks=bz.callbacks.EarlyStopping())
    with pytest.raises(ValueError, match="validation_data has 4 parts"):
        trainer().fit(X, Y, validation_data=(X, Y, Y, Y))
