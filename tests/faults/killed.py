# SPDX-License-Identifier: BSD-3-Clause
"""Kills a process that writes checkpoints, at random instants, and goes on from what is there; prints what was lost.

Arguments: the directory to work in, "loop" or "trainer", the number of kills.
"""

import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import time
import warnings

import brazen as bz
import numpy as np
from brazen import checkpoint


class Loop:
    """Nothing but a state that follows from the one before, written after every step, now here, now in the background."""

    interval, longest, last = 1, 0.03, 400

    def digest(self, values):
        return hashlib.sha256(values.tobytes()).hexdigest()

    def run(self, directory, begun):
        path = checkpoint.newest(directory) if directory else None
        found = checkpoint.read(path) if path else {"values": np.arange(500.0), "step": 0}
        values, step = found["values"], found["step"]
        with checkpoint.Writer(directory or "", keep=2, background=step % 2 == 0) as writer:
            while step < self.last:
                values = np.sqrt(values * 1.5 + step)
                step += 1
                begun(step)
                if directory:
                    writer.write(step, {"values": values, "step": step})
        return self.digest(values)


class Trainer:
    """A network with batch norm and dropout, a checkpoint every three batches, so in the middle of epochs too."""

    interval, longest = 3, 0.06

    def __init__(self):
        bz.set_num_threads(1)
        generator = np.random.default_rng(0)
        self.x, self.y = generator.normal(size=(96, 8)).astype("float32"), generator.integers(0, 3, 96)

    def run(self, directory, begun):
        layers = [bz.nn.Dense(8), bz.nn.BatchNorm(), bz.nn.Activation("relu"), bz.nn.Dropout(0.2), bz.nn.Dense(3)]
        net = bz.nn.Sequential(layers).build(input_shape=(8,), seed=0)
        trainer = bz.Trainer(
            net, loss="softmax_cross_entropy", optimizer=bz.optim.Adam(lr=1e-3), metrics=["accuracy"], seed=0
        )

        class Progress(bz.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                begun(trainer.steps)

        kept = {"checkpoint_dir": directory, "checkpoint_every": 3, "resume": "auto"} if directory else {}
        history = trainer.fit(self.x, self.y, epochs=40, batch_size=16, verbose=0, callbacks=[Progress()], **kept)
        digest = hashlib.sha256(json.dumps(history.history, default=float).encode())
        for _, array in sorted(net.state().items()):
            digest.update(array.tobytes())
        for array in trainer.optimizer.state_dict().values():
            digest.update(np.asarray(array).tobytes())
        return digest.hexdigest()


def main(directory, kind, kills):
    warnings.simplefilter("error")  # a checkpoint that is passed over is a broken one
    job = {"loop": Loop, "trainer": Trainer}[kind]()
    chance = random.Random(0)
    shared = mmap.mmap(-1, 128)
    expected, wrong, done, finished = job.run(None, lambda step: None), [], 0, 0
    killed = True
    while done < kills or killed:
        shared[:8] = struct.pack("<q", 0)
        child = os.fork()
        if child == 0:
            digest = job.run(directory, lambda step: shared.__setitem__(slice(0, 8), struct.pack("<q", step)))
            shared[64:128] = digest.encode()
            os._exit(0)
        if done < kills:
            time.sleep(chance.uniform(0, job.longest))
            os.kill(child, signal.SIGKILL)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0
        done += killed
        (begun,) = struct.unpack("<q", shared[:8])
        path = checkpoint.newest(directory)
        reached = int(path.rpartition("-")[2]) if path else 0
        # The checkpoint of the interval before the last may still have been on its way to the disk.
        if reached < ((begun - 1) // job.interval - 1) * job.interval:
            wrong.append(f"kill {done}: step {begun} was begun, the newest checkpoint is of step {reached}")
        if not killed:
            finished += 1
            if shared[64:128].decode() != expected:
                wrong.append(f"a run that was killed and went on ended in other bits, after {done} kills")
            shutil.rmtree(directory)
    print(json.dumps({"kills": done, "finished": finished, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
