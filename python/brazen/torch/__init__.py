# SPDX-License-Identifier: BSD-3-Clause
"""brazen in a PyTorch loop: functions of the graph, modules and optimizers, on CPU and CUDA tensors without copies.

Imported by name only (`import brazen.torch`); needs PyTorch, which brazen does not.

>>> import torch, brazen.torch as bt
>>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
>>> bt.relu(x).sum().backward(); x.grad.tolist()
[0.0, 1.0]
"""

try:
    import torch as _torch  # noqa: F401, PyTorch's: imports are absolute
except ImportError as _missing:
    raise ModuleNotFoundError(
        "brazen.torch needs PyTorch: pip install 'brazen[torch]' brings it", name="torch"
    ) from _missing

from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .batch_norm import *  # noqa: F403
from .batch_norm import __all__ as _batch_norm
from .chains import *  # noqa: F403
from .chains import __all__ as _chains
from .losses import *  # noqa: F403
from .losses import __all__ as _losses
from .modules import *  # noqa: F403
from .modules import __all__ as _modules
from .norms import *  # noqa: F403
from .norms import __all__ as _norms
from .optim import *  # noqa: F403
from .optim import __all__ as _optim

__all__ = [*_activations]
__all__ += _batch_norm
__all__ += _chains
__all__ += _losses
__all__ += _modules
__all__ += _norms
__all__ += _optim
