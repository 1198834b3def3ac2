"""Asks outside an episode: a role and the text it reads."""

from __future__ import annotations

from dataclasses import dataclass

from step_hrl.types import Ask, Role


@dataclass(frozen=True, slots=True)
class PlainState:
    """A state that is its own prompt."""

    prompt: str


def ask(role: Role, prompt: str, *, seed: int = 0, is_repeat: bool = False) -> Ask:
    """An ask whose prompt is this text."""
    return Ask(role, PlainState(prompt), seed, is_repeat=is_repeat)
