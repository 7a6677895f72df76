# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints that survive anything, and weights in a file: no pickle, no zip, nothing imported by name."""

from .files import DirectoryInUse
from .store import newest, read, write
from .text import CheckpointError
from .weights import load, save
from .writer import Writer

__all__ = ["CheckpointError", "DirectoryInUse", "Writer", "load", "newest", "read", "save", "write"]
