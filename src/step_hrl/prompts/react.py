"""What a prompted model reads that thinks aloud before it acts (ReAct, Yao et al. 2023). For baselines."""

from __future__ import annotations

import re

from step_hrl.errors import UnreadableReply
from step_hrl.prompts import text, transcript
from step_hrl.prompts.transcript import Bounds, State

_ASKED = (
    "You act in a world of text, one action at a time, to do the task. First think about what to do next, then act. "
    "Answer in two lines:\nThought: what you think\nAction: one action"
)
_ACTION = re.compile(r"^\W*action\W*:\W*(.+?)\W*$", re.IGNORECASE | re.MULTILINE)


def render(state: State, instructions: str, bounds: Bounds) -> str:
    """The prompt: what is asked for, what the recipe says of the world, and the transcript with what is seen now."""
    lines = transcript.render(state, "Task", bounds).splitlines()[1:-1]
    return "\n".join([*filter(None, (_ASKED, instructions.strip())), *lines, "Thought:"])


def parse(reply: str) -> str:
    """The action in a reply, which may say other things besides.

    Raises :class:`~step_hrl.errors.UnreadableReply` where no line begins with ``Action:``.

    >>> parse("I need a mug.\\nAction: go to desk 1.")
    'go to desk 1'
    """
    found = _ACTION.search(reply)
    if found is None:
        raise UnreadableReply("expected a line `Action: ...`")
    return text.first_line(found[1], text.ACTION_CHARACTERS)


def typed(line: str) -> str:
    """The reply that a person's line stands for: an action needs no label, and no thought before it.

    Raises :class:`~step_hrl.errors.UnreadableReply` for an empty line.

    >>> typed("go to desk 1")
    'Action: go to desk 1'
    """
    said = text.first_line(line, text.ACTION_CHARACTERS)
    return said if _ACTION.search(said) else f"Action: {said}"
