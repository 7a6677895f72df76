# SPDX-License-Identifier: BSD-3-Clause
"""The object that hands freshly allocated CPU memory to a library's `from_dlpack`. Nothing else."""


class Carrier:
    """A DLPack producer that can be consumed once."""

    def __init__(self, capsule):
        self._capsule = capsule

    def __dlpack__(self, **_):
        return self._capsule

    def __dlpack_device__(self):
        return (1, 0)
