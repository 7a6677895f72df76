# SPDX-License-Identifier: BSD-3-Clause
"""Training from the command line: a config file, the user's data, and what is left behind."""

from .config import Config, ConfigError, load
from .run import main, train

__all__ = ["Config", "ConfigError", "load", "main", "train"]
