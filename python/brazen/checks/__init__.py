# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what one writes on top of brazen: gradients against central differences, labels that only a GPU has seen."""

from .gradcheck import GradientMismatch, GradientReport, gradcheck
from .labels import labels

__all__ = ["GradientMismatch", "GradientReport", "gradcheck", "labels"]
