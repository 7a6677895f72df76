# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what one writes on top of brazen: gradients against central differences."""

from .gradcheck import GradientMismatch, GradientReport, gradcheck

__all__ = ["GradientMismatch", "GradientReport", "gradcheck"]
