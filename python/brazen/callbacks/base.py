# SPDX-License-Identifier: BSD-3-Clause
"""Callback, the class to derive from, and the list that tells many of them. No callback that does something."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from .events import EVENTS, Event, overridden


class Callback:
    """Something that is told what happens in training: derive from it, and define the hooks you need.

    `self.model` is the trainer: `stop_training = True` ends training after this batch or epoch, `pause_training = True`
    does so that a resumed run goes on, `optimizer.lr` may be set, `params` and `grads` read and written. `self.params` is
    what fit was asked for.

    >>> class Note(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    """

    # What these attributes hold at the beginning of training, and what a checkpoint keeps of them.
    remembers: dict[str, Any] = {}
    model: Any
    params: dict[str, Any]
    _given: tuple

    def __new__(cls, *arguments, **named):
        made = super().__new__(cls)
        made.model, made.params, made._given = None, {}, (arguments, named)
        made.forget()
        return made

    def set_model(self, model) -> None:
        self.model = model

    def set_params(self, params) -> None:
        self.params = params

    def forget(self) -> None:
        """Sets what it remembers to what it is at the beginning."""
        for name, value in self.remembers.items():
            setattr(self, name, value.copy() if isinstance(value, dict | list) else value)

    def state(self) -> dict[str, Any]:
        """What a later epoch depends on: plain values, lists and dicts of them, and arrays."""
        return {name: getattr(self, name) for name in self.remembers}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from a `state()`."""
        for name in self.remembers:
            if name not in state:
                raise ValueError(
                    f"{type(self).__name__}: the state lacks {name}; it has {', '.join(state) or 'nothing'}"
                )
            setattr(self, name, state[name])

    def config(self) -> dict[str, Any]:
        """The class and its arguments as plain data; functions by their names."""
        arguments, named = self._given
        try:
            bound = inspect.signature(type(self).__init__).bind(self, *arguments, **named).arguments
        except (TypeError, ValueError):
            bound = {}
        given = {name: _plain(value) for name, value in bound.items() if name != "self"}
        return {"callback": type(self).__name__, **given}

    def __repr__(self):
        given = ", ".join(f"{name}={value!r}" for name, value in self.config().items() if name != "callback")
        return f"{type(self).__name__}({given})"


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "config"):
        return value.config()
    return getattr(value, "__qualname__", str(value))


def _hook(event: Event):
    """A method that does nothing but hand on to the alias, which a subclass may have defined instead."""
    alias = f"on_{event.alias}" if event.alias else None
    if alias and event.counts:
        source: Callable = lambda self, count, logs=None: getattr(self, alias)(count, logs)  # noqa: E731
    elif event.counts:
        source = lambda self, count, logs=None: None  # noqa: E731
    else:
        source = lambda self, logs=None: None  # noqa: E731
    source.__name__ = f"on_{event.name}"
    source.__qualname__ = f"Callback.on_{event.name}"
    source.__doc__ = event.says
    return source


for _event in EVENTS.values():
    setattr(Callback, f"on_{_event.name}", _hook(_event))
    if _event.alias:
        setattr(Callback, f"on_{_event.alias}", _hook(Event(_event.alias, _event.counts, f"{_event.says[:-1]} too.")))


class CallbackList:
    """Callbacks in their order; `tell(event, count, logs)` reaches those that define the hook, the others cost nothing.

    Callbacks need not derive from `Callback`: Keras' own serve as well.
    """

    def __init__(self, callbacks=()):
        try:
            self.callbacks = list(callbacks)
        except TypeError:
            raise TypeError(f"callbacks is {callbacks!r}; expected a list of callbacks") from None
        for position, callback in enumerate(self.callbacks):
            known = [f"on_{name}" for name in EVENTS] + [f"on_{e.alias}" for e in EVENTS.values() if e.alias]
            if isinstance(callback, type) or not any(hasattr(callback, name) for name in known):
                hint = "; write it with parentheses" if isinstance(callback, type) else ""
                raise TypeError(f"callbacks[{position}] is {callback!r}; expected a Callback{hint}")
        self.hear = {name: self._listeners(event) for name, event in EVENTS.items()}

    def _listeners(self, event: Event) -> list[Callable]:
        found = []
        for callback in self.callbacks:
            base = _base_of(callback)
            names = [f"on_{event.name}"] + ([f"on_{event.alias}"] if event.alias else [])
            if any(overridden(callback, name, base) for name in names):
                found.append(getattr(callback, names[0], None) or getattr(callback, names[-1]))
        return found

    def set(self, model, params) -> None:
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def tell(self, event: str, *arguments) -> None:
        for hook in self.hear[event]:
            hook(*arguments)

    def __iter__(self):
        return iter(self.callbacks)

    def __len__(self):
        return len(self.callbacks)

    # State, by class and, among equals, order: a callback that is new or gone does not disturb the others.

    def named(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for callback in self.callbacks:
            name = kind = type(callback).__name__
            number = 1
            while name in found:
                number += 1
                name = f"{kind} {number}"
            found[name] = callback
        return found

    def state(self) -> dict[str, Any]:
        return {name: made.state() for name, made in self.named().items() if hasattr(made, "load_state")}

    def load_state(self, state: dict[str, Any]) -> list[str]:
        """Hands each its own; returns whose state nobody took."""
        left = dict(state)
        for name, callback in self.named().items():
            if name in left and hasattr(callback, "load_state"):
                callback.load_state(left.pop(name))
        return list(left)


def _base_of(callback) -> type:
    """The class whose hooks do nothing: ours, or Keras'."""
    if isinstance(callback, Callback):
        return Callback
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(callback, keras.callbacks.Callback):
        return keras.callbacks.Callback
    return object
