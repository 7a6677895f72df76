# SPDX-License-Identifier: BSD-3-Clause
"""The layers, one file per family."""
