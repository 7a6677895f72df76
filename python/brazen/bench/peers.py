# SPDX-License-Identifier: BSD-3-Clause
"""Which peers there are, whether they are here, and how a process is set up so that each is at its best."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

# What a peer is imported as, and what installs it.
PEERS = {
    "reference": ("brazen.reference", ""),
    "torch": ("torch", "pip install 'brazen[peers]'"),
    "compile": ("torch", "pip install 'brazen[peers]', and a C++ compiler on PATH"),
    "jax": ("jax", "pip install 'brazen[jax]'"),
    "keras": ("keras", "pip install 'brazen[keras,jax]'"),
    "sklearn": ("sklearn", "pip install 'brazen[demo]'"),
    "cupy": ("cupy", "pip install 'brazen[cuda13]'"),
}
# Without it a fresh 128 MB result costs PyTorch five times as long, in page faults.
_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def choose(wanted: list[str] | None) -> tuple[list[str], list[str]]:
    """The peers that can be used, and one line for each that was asked for and cannot; by default all but "compile"."""
    unknown = [name for name in wanted or () if name not in PEERS]
    if unknown:
        raise ValueError(f"bench: unknown peer {', '.join(unknown)}; the peers are {', '.join(PEERS)}")
    present, absent = [], []
    for name in wanted or [name for name in PEERS if name not in ("compile", "cupy")]:
        module, install = PEERS[name]
        if name == "cupy" and not _has_gpu():
            absent.append(
                "cupy: runs where brazen's CUDA library and a GPU are found; `brazen.info()['why_not']` says what is missing here"
            )
        elif importlib.util.find_spec(module) is None or (name == "keras" and importlib.util.find_spec("jax") is None):
            absent.append(f"{name}: not installed; {install}")
        elif name == "keras" and "keras" in sys.modules and sys.modules["keras"].backend.backend() != "jax":
            absent.append("keras: runs in this process already, on another backend than JAX; start a new one")
        else:
            present.append(name)
    return present, absent


def _has_gpu() -> bool:
    import brazen

    return bool(brazen.info()["cuda"]["devices"])


def needs_new_process(peers: list[str]) -> bool:
    """Whether PyTorch is already imported with its slow allocator, which reads its variable once."""
    return "torch" in sys.modules and ("torch" in peers or "compile" in peers) and os.environ.get(_HUGE_PAGES) != "1"


def start(peers: list[str], threads: int) -> dict[str, str]:
    """Imports the peers as they are fastest; their versions."""
    os.environ[_HUGE_PAGES] = "1"
    if "torch" in peers or "compile" in peers:
        from . import torch_peer

        torch_peer.start(threads)
    if "keras" in peers:
        os.environ["KERAS_BACKEND"] = "jax"
    versions = {}
    for name in peers:
        if name in ("reference", "compile"):
            continue
        versions[name] = str(importlib.import_module(PEERS[name][0]).__version__)
    return versions
