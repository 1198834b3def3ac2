"""Recipes from YAML and ``key=value`` overrides, and back; an error in either is one line."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from step_hrl.config import Recipe, Section, overlay
from step_hrl.errors import RecipeError, did_you_mean

MOST_ENTRIES = 10_000
"""Most entries of a recipe, counting an alias each time it is used; nobody writes a larger one by hand."""
MOST_LEVELS = 50
"""Most parts of a dotted key, and most files of a chain of ``extends``."""

OLD_KEYS: Mapping[str, str | None] = {
    "preset: method": "preset: paper",
    "world.action_limit": "world.max_episode_steps",
    "demonstrations.action_limit": "demonstrations.max_episode_steps",
    "demonstrations.perturbed": "demonstrations.action_noise",
    "demonstrations.renamed": None,
    "behavior_cloning.renamed": None,
    "behavior_cloning.distinct": "behavior_cloning.deduplicate",
    "behavior_cloning.prompt_weight": None,
    "behavior_cloning.prompt_loss_weight": None,
    "behavior_cloning.held_out_fraction": "behavior_cloning.validation_fraction",
    "behavior_cloning.muon_learning_rate": "behavior_cloning.optimizer.matrix_learning_rate",
    "behavior_cloning.optimizer: adamw": "behavior_cloning.optimizer.type: adamw",
    "behavior_cloning.optimizer: muon": "behavior_cloning.optimizer.type: muon",
    "offline_rl.held_out_fraction": "offline_rl.validation_fraction",
    "offline_rl.muon_learning_rate": "offline_rl.optimizer.matrix_learning_rate",
    "offline_rl.optimizer: adamw": "offline_rl.optimizer.type: adamw",
    "offline_rl.optimizer: muon": "offline_rl.optimizer.type: muon",
    "offline_rl.temperature": "offline_rl.awr_beta",
    "offline_rl.max_weight": "offline_rl.awr_max_weight",
    "offline_rl.soft_target_rate": "offline_rl.target_tau",
    "offline_rl.twin_q": "offline_rl.n_critics",
    "offline_rl.critic_gradient": "offline_rl.critic_grad_scale",
    "offline_rl.subtask_reward: achieved": "offline_rl.subtask_reward: verified",
    "offline_rl.subtask_reward: claimed": "offline_rl.subtask_reward: trust_policy",
    "offline_rl.data_weights.expert": "offline_rl.data_weights.demonstration",
    "data_weights.expert": "data_weights.demonstration",
    "generation.temperature_again": "generation.repeat_temperature",
    "agent.kind": "agent.type",
    "agent.hierarchy: false": "agent.type: no_hierarchy",
    "agent.hierarchy: true": None,
    "agent.local_progress: false": "agent.type: no_local_progress",
    "agent.local_progress: true": None,
    "agent.refused_claims_count": "agent.complete_on_invalid_action",
}
"""Keys of recipes of the version before this one, some with the value that was renamed, and how they are written now;
None was removed. Below ``compare.agents.NAME`` keys are looked up without that prefix."""

SectionType = typing.TypeVar("SectionType", bound=Section)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with three differences.

    Dates are text, a key that occurs twice in a mapping is an error, and merge keys cannot grow beyond a recipe's size.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping. Raises a ConstructorError where a key occurs twice."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} occurs twice", key.start_mark)
            seen.add(name)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve a mapping's merge keys. Raises a ConstructorError where they make it too large."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_ENTRIES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_ENTRIES} entries", node.start_mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay it over what it ``extends``, and lay overrides over the result.

    ``extends`` names a file, or a list of files of which later ones win, relative to the file that says it; those may
    extend others. Mappings merge as in :func:`~step_hrl.config.overlay`.

    Args:
        path: The recipe's file.
        overrides: ``key=value`` each, with dotted keys and YAML values, such as ``behavior_cloning.epochs=2``. Their
            order matters only between those of the same key.

    Returns:
        The recipe, checked.

    Raises:
        RecipeError: A file is missing or unreadable, a key is unknown or of an old version, or a value does not fit.
    """
    tree = _read(path, (), {})
    given: dict[str, Any] = {}
    for override in overrides:
        given = overlay(given, _parse_override(override))
    _refuse_old_keys(given, "override")
    return parse_section(Recipe, overlay(tree, given), str(path))


def to_yaml(recipe: Recipe) -> str:
    """Write the whole recipe, defaults included, as YAML that :func:`load_recipe` reads back as an equal recipe."""
    tree = recipe.model_dump(mode="json")
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    # PyYAML writes these line breaks of Unicode as they are, and folds them when it reads them.
    broken = any(mark in text for mark in "\x85\u2028\u2029")
    return yaml.safe_dump(tree, sort_keys=False) if broken else text


def parse_section(section: type[SectionType], tree: Any, where: str) -> SectionType:
    """Check a tree of plain values against a section.

    Raises :class:`~step_hrl.errors.RecipeError` for the first value that does not fit.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key, got, remedy = _complaint(section, first)
        raise RecipeError(f"{where}: {key}", got, remedy) from error


def _read(path: Path, extending: tuple[Path, ...], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Read a file and what it extends as one tree.

    Args:
        path: The file.
        extending: The files that are being read, the first of which is the recipe; each extends the next.
        known: The trees that are read already, by real path; this one is added.
    """
    if not os.path.isfile(path):
        others = sorted(p.stem for p in path.parent.glob("*.yaml")) if os.path.isdir(path.parent) else []
        where = f"{extending[-1]}: extends: {path}" if extending else str(path)
        raise RecipeError(where, "no such recipe", did_you_mean(path.stem, others) if others else "give a YAML file")
    real, chain = os.path.realpath(path), (*extending, path)
    if real in map(os.path.realpath, extending):
        cycle = " -> ".join(map(str, chain))
        raise RecipeError(f"{extending[-1]}: extends", f"a cycle ({cycle})", "leave one of them out")
    if len(chain) > MOST_LEVELS:
        raise RecipeError(f"{path}: extends", f"a chain of more than {MOST_LEVELS} files", "extend fewer files")
    if real not in known:
        own = _parse_file(path)
        merged: dict[str, Any] = {}
        for base in _bases(own.pop("extends", []), path):
            merged = overlay(merged, _read(base, chain, known))
        known[real] = overlay(merged, own)
    return known[real]


def _parse_file(path: Path) -> dict[str, Any]:
    """Read one file, without what it extends."""
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise ValueError("not a mapping: a recipe starts with `name:` and `world:`")
    except Exception as error:  # PyYAML raises whatever it stumbles over, such as an IndexError for `!!int ''`
        raise RecipeError(str(path), f"cannot be read ({_one_line(error)})", "correct the YAML") from error
    known = cast("dict[str, Any]", tree)
    _refuse_old_keys(known, str(path))
    return known


def _bases(extends: Any, path: Path) -> list[Path]:
    """The files that a file extends, of which later ones win."""
    names = cast("list[Any]", extends) if isinstance(extends, list) else [extends]
    if not all(isinstance(name, str) and name for name in names):
        raise RecipeError(f"{path}: extends", f"{extends!r}", "write the path of a file, or a list of paths")
    return [Path(os.path.normpath(path.parent / name)) for name in names]


def _parse(text: str) -> Any:
    """Read YAML. Raises whatever PyYAML raises, and ValueError for what a few lines make too large to use."""
    tree: object = yaml.load(text, _Loader)
    left, places = MOST_ENTRIES, [tree]
    while places:
        inner = _inside(places.pop())
        left -= len(inner)
        if left < 0:
            raise ValueError(f"more than {MOST_ENTRIES} entries")
        places += inner
    return tree


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _parse_override(override: str) -> dict[str, Any]:
    """Read ``a.b=value`` as the tree ``{a: {b: value}}``."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    shown = override if len(override) <= 80 else f"{override[:77]}..."
    if not equals or not all(keys) or len(keys) > MOST_LEVELS:
        raise RecipeError(shown, "not an override", "write key=value, such as seed=1")
    try:
        tree = _parse(text)
    except Exception as error:  # as in _parse_file
        raise RecipeError(shown, f"cannot be read ({_one_line(error)})", "correct the YAML of the value") from error
    for key in reversed(keys):
        tree = {key: tree}
    return tree


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _refuse_old_keys(tree: Mapping[Any, Any], where: str) -> None:
    """Raise a RecipeError for the first key of the version before this one; it names the key of this version."""
    for parts, value in _entries(tree, ()):
        start = 3 if parts[:2] == ("compare", "agents") else 0
        prefix, key = "".join(f"{part}." for part in parts[:start]), ".".join(parts[start:])
        for old in (key, f"{key}: {str(value).lower() if isinstance(value, (str, bool)) else ''}"):
            if old in OLD_KEYS:
                new = OLD_KEYS[old]
                outcome = ("renamed", f"write {prefix}{new}") if new else ("removed", "delete it")
                raise RecipeError(f"{where}: {prefix}{old}", *outcome)


def _entries(tree: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of a tree, each with those above it, and their values. A world's own options are left out."""
    for key, value in tree.items():
        parts = (*above, str(key))
        yield parts, value
        if isinstance(value, Mapping) and parts != ("world", "options"):
            yield from _entries(cast("Mapping[Any, Any]", value), parts)


def _complaint(section: type[Section], error: ErrorDetails) -> tuple[str, str, str]:
    """Where an error is, what was got, and what to do about it."""
    key, known, variants = _locate(section, error["loc"])
    if error["type"] == "extra_forbidden":
        return key, "unknown key", did_you_mean(str(error["loc"][-1]), known)
    if error["type"] == "missing":
        return key, "missing", "add it to the recipe"
    if variants and error["type"] == "union_tag_invalid":
        tag = str(error.get("ctx", {})["tag"])
        return f"{key}.type", f"unknown {tag!r}", did_you_mean(tag, variants)
    if variants and isinstance(error["input"], Mapping):
        return f"{key}.type", "missing", f"write one of {', '.join(variants)}"
    if variants:
        return key, f"{error['input']!r}", f"write a mapping, such as {{type: {next(iter(variants))}}}"
    return key, f"{error['input']!r}", error["msg"][:1].lower() + error["msg"][1:]


def _locate(section: type[Section], location: Sequence[int | str]) -> tuple[str, list[str], dict[str, Any]]:
    """Follow an error's location into a section.

    Returns its dotted key without the tags that pydantic adds for variants, the keys known beside its last part, and
    the variants that may stand at it, by type.
    """
    place: Any = section
    parts: list[str] = []
    known: list[str] = []
    for part in location:
        variants = _variants(place)
        if part in variants:
            place = variants[str(part)]
            continue
        parts.append(str(part))
        inner: dict[str, Any] = {}
        if isinstance(place, type) and issubclass(place, Section):
            inner = {name: field.annotation for name, field in place.model_fields.items()}
        elif typing.get_origin(place) is dict:
            inner = {str(part): typing.get_args(place)[1]}
        known, place = list(inner), _plain(inner.get(str(part)))
    return ".".join(parts), known, _variants(place)


def _plain(annotation: Any) -> Any:
    """An annotation without its metadata and without None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _variants(annotation: Any) -> dict[str, Any]:
    """The sections of a union by their ``type``; empty for anything else."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return {}
    members = [_plain(member) for member in typing.get_args(annotation)]
    sections = [member for member in members if isinstance(member, type) and issubclass(member, Section)]
    return {section.model_fields["type"].default: section for section in sections}
