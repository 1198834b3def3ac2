"""Recipes from YAML and ``key=value`` overrides, and back; what does not fit is told in one line."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from step_hrl.config import Recipe, Section
from step_hrl.errors import RecipeError, did_you_mean

MOST_ENTRIES = 10_000
"""A recipe with more entries, aliases counted each time, is not one that a person wrote."""

SectionType = typing.TypeVar("SectionType", bound=Section)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``key=value`` overrides (dotted keys, YAML values).

    Raises :class:`~step_hrl.errors.RecipeError` for a missing or unreadable file, an unknown key or a bad value.
    """
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise RecipeError(str(path), "no such recipe", did_you_mean(path.stem, known) if known else "give a YAML file")
    for override in overrides:
        if "=" not in override or override.startswith("="):
            raise RecipeError(override, "not an override", "write key=value, such as seed=1")
    try:
        _check_size(path)
        merged = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
        tree = OmegaConf.to_container(merged, resolve=True)
    except Exception as error:  # omegaconf raises whatever it stumbles over
        reason = " ".join(str(error).split())[:300]
        raise RecipeError(str(path), f"cannot be read ({reason})", "mend the YAML") from error
    return parse_section(Recipe, tree, str(path))


def _check_size(path: Path) -> None:
    """Refuse what a few lines can make too large to read: what refers to itself, or to the same again and again."""
    left = MOST_ENTRIES
    places: list[object] = [yaml.safe_load(path.read_text(encoding="utf-8"))]
    if not isinstance(places[0], dict):
        raise ValueError("not a mapping: a recipe starts with `name:` and `world:`")
    while places:
        inner = _inside(places.pop())
        left -= len(inner)
        if left < 0:
            raise ValueError(f"more than {MOST_ENTRIES} entries")
        places += inner


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def to_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML that :func:`load_recipe` makes an equal one of."""
    return OmegaConf.to_yaml(OmegaConf.create(_literal(recipe.model_dump(mode="json"))))


def parse_section(section: type[SectionType], tree: Any, where: str) -> SectionType:
    """Check a tree of plain values against a section; one clear line where it does not fit."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {key}", *_complaint(section, first)) from error


def _literal(value: Any) -> Any:
    """Plain values whose texts omegaconf takes as they stand, where it would look up ``${name}``.

    >>> _literal({"name": "a ${b}"})
    {'name': 'a \\\\${b}'}
    """
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in cast("dict[Any, Any]", value).items()}
    return [_literal(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def _complaint(section: type[Section], error: ErrorDetails) -> tuple[str, str]:
    if error["type"] == "extra_forbidden":
        *parents, word = (str(part) for part in error["loc"])
        return "unknown key", did_you_mean(word, _fields_at(section, parents))
    if error["type"] == "missing":
        return "missing", "add it to the recipe"
    return f"{error['input']!r}", error["msg"][:1].lower() + error["msg"][1:]


def _fields_at(section: type[Section], path: Sequence[str]) -> list[str]:
    """The keys that may stand at a path: a section's fields; below a mapping of sections, any name leads to one."""
    named = False
    for part in path:
        if named:
            named = False
            continue
        field = section.model_fields.get(part)
        inner, named = _section_in(field.annotation) if field else (None, False)
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)


def _section_in(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section an annotation holds, and whether it holds several by name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [_section_in(argument) for argument in typing.get_args(annotation)]
        return next((found for found in inner if found[0]), (None, False))
    if typing.get_origin(annotation) is dict:
        return _section_in(typing.get_args(annotation)[1])[0], True
    return None, False
