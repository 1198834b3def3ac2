"""Convert the dataclasses of :mod:`step_hrl.types` to JSON values and back without loss.

A dataclass becomes an object with its fields' names; a field that is None is omitted. Within an episode,
observations are written as indices into one list of texts (see :class:`Texts`): texts repeat from step to step, and
each is then stored once, in the file and in memory.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, cast

from step_hrl.errors import DataError
from step_hrl.types import Observation

Kind = TypeVar("Kind")
Decoder = Callable[[Any, "Texts | None"], Any]

_REMEDY = "write it with this version of step_hrl, or read it with the one that wrote it"


class Texts:
    """The distinct texts of one episode; an observation is encoded as the indices of its texts (None for no text)."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.all: list[str] = list(texts)
        self._index = {text: index for index, text in enumerate(self.all)}
        self._observations: dict[tuple[Any, ...], Observation] = {}

    def put(self, observation: Observation) -> list[int | None]:
        """Add an observation's texts and return their indices."""
        parts = [observation.text, observation.look, observation.inventory]
        if observation.unabridged is not None:
            parts.append(observation.unabridged)
        return [self._put(part) for part in parts]

    def get(self, indices: list[Any]) -> Observation:
        """Return the observation with these indices; equal indices give the same object. Raises DataError."""
        try:
            text, look, inventory, *unabridged = key = tuple(indices)
            if key not in self._observations:
                others = map(self._part, (look, inventory, *unabridged))
                self._observations[key] = Observation(self._text(text), *others)
            return self._observations[key]
        except (TypeError, ValueError, IndexError):
            raise _mismatch("Observation", "three or four indices into the texts", indices) from None

    def _put(self, text: str | None) -> int | None:
        if text is None:
            return None
        if text not in self._index:
            self._index[text] = len(self.all)
            self.all.append(text)
        return self._index[text]

    def _text(self, index: int) -> str:
        return self.all[index]

    def _part(self, index: int | None) -> str | None:
        return None if index is None else self.all[index]


def to_json(value: object, texts: Texts | None = None) -> Any:
    """Convert a value to what :mod:`json` can write; with ``texts``, observations become indices into it."""
    if isinstance(value, Observation) and texts is not None:
        return texts.put(value)
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, tuple):
        return [to_json(item, texts) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, Mapping):
        return {str(key): to_json(item, texts) for key, item in cast("Mapping[object, object]", value).items()}
    if is_dataclass(value):
        parts = ((name, getattr(value, name)) for name in _names(type(value)))
        return {name: to_json(part, texts) for name, part in parts if part is not None}
    raise TypeError(f"no JSON for {type(value).__name__}")


def from_json(kind: type[Kind], value: Any, texts: Texts | None = None) -> Kind:
    """Convert JSON values back to a value of type ``kind``.

    Raises :class:`~step_hrl.errors.DataError`, which names the field, for a missing or unknown field or a wrong type.
    """
    return _decoder(kind)(value, texts)


def _mismatch(where: str, expected: str, got: object) -> DataError:
    return DataError(where, f"expected {expected}, got {repr(got)[:60]}", _REMEDY)


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _decoder(hint: Any) -> Decoder:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_decoder(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional_decoder(next(part for part in arguments if part is not type(None)))
    if origin is tuple:
        return _tuple_decoder(arguments[0])
    if origin is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return _choice_decoder(arguments or tuple(cast("type[Enum]", hint)))
    if origin is not None:
        return _mapping_decoder(*arguments)
    return _scalar_decoder(cast("type[Any]", hint))


def _dataclass_decoder(kind: type[Any]) -> Decoder:
    hints = typing.get_type_hints(kind)
    optional = frozenset(name for name, hint in hints.items() if type(None) in typing.get_args(hint))
    required = hints.keys() - optional
    parts = {name: _decoder(hint) for name, hint in hints.items()}
    # Most fields are plain values of the expected type; decoding each with a call would double the reading time.
    plain = {name: hint for name, hint in hints.items() if hint in (str, int, float, bool)}

    def decode(value: Any, texts: Texts | None) -> Any:
        if kind is Observation and texts is not None:
            return texts.get(value)
        if not isinstance(value, dict):
            raise _mismatch(kind.__name__, "an object", value)
        entries = cast("dict[str, Any]", value)
        if not required <= entries.keys() <= hints.keys():
            missing, unknown = sorted(required - entries.keys()), sorted(entries.keys() - hints.keys())
            raise DataError(kind.__name__, f"missing {missing}" if missing else f"unknown {unknown}", _REMEDY)
        arguments: dict[str, Any] = dict.fromkeys(optional)
        for name, entry in entries.items():
            if type(entry) is plain.get(name):
                arguments[name] = entry
                continue
            try:
                arguments[name] = parts[name](entry, texts)
            except DataError as error:
                raise DataError(f"{kind.__name__}.{name}: {error.where}", error.got, error.remedy) from None
        return kind(**arguments)

    return decode


def _optional_decoder(hint: Any) -> Decoder:
    inner = _decoder(hint)
    return lambda value, texts: None if value is None else inner(value, texts)


def _tuple_decoder(hint: Any) -> Decoder:
    inner = _decoder(hint)

    def decode(value: Any, texts: Texts | None) -> Any:
        if not isinstance(value, list):
            raise _mismatch("list", "a list", value)
        return tuple(inner(item, texts) for item in cast("list[Any]", value))

    return decode


def _mapping_decoder(key_hint: Any, value_hint: Any) -> Decoder:
    key, inner = _decoder(key_hint), _decoder(value_hint)

    def decode(value: Any, texts: Texts | None) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("object", "an object", value)
        return {key(name, texts): inner(item, texts) for name, item in cast("dict[Any, Any]", value).items()}

    return decode


def _choice_decoder(choices: tuple[Any, ...]) -> Decoder:
    known = {choice.value if isinstance(choice, Enum) else choice: choice for choice in choices}

    def decode(value: Any, texts: Texts | None) -> Any:
        if not isinstance(value, str) or value not in known:
            raise _mismatch("choice", "one of " + ", ".join(known), value)
        return known[value]

    return decode


def _scalar_decoder(hint: type[Any]) -> Decoder:
    accepted: tuple[type, ...] = (float, int) if hint is float else (hint,)

    def decode(value: Any, texts: Texts | None) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise _mismatch("value", hint.__name__, value)
        return value

    return decode
