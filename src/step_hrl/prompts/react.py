"""The prompt of the ReAct baseline: a prompted model writes a thought before each action (Yao et al. 2023)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step_hrl.errors import UnreadableReply
from step_hrl.prompts import text, transcript

_REQUEST = (
    "You act in a world of text, one action at a time, to do the task. First think about what to do next, then act. "
    "Answer in two lines:\nThought: what you think\nAction: one action"
)
_ACTION = re.compile(r"^\W*action\W*:\W*(.+?)\W*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class State:
    """The transcript so far, and the recipe's instructions about the environment (may be empty)."""

    transcript: transcript.State
    instructions: str

    @property
    def prompt(self) -> str:
        """See :func:`render`."""
        return render(self)


def render(state: State) -> str:
    """The prompt: the request, the instructions, and the transcript with the current observation."""
    lines = transcript.render(state.transcript).splitlines()[:-1]
    return "\n".join([*filter(None, (_REQUEST, state.instructions.strip())), *lines, "Thought:"])


def parse(reply: str) -> str:
    """The action in a reply; other text is ignored.

    Raises :class:`~step_hrl.errors.UnreadableReply` where no line begins with ``Action:``.

    >>> parse("I need a mug.\\nAction: go to desk 1.")
    'go to desk 1'
    """
    match = _ACTION.search(reply)
    if match is None:
        raise UnreadableReply("expected a line `Action: ...`")
    return text.first_line(match[1], text.ACTION_CHARACTERS)


def typed(line: str) -> str:
    """The reply for a line typed by a person, who may omit label and thought.

    Raises :class:`~step_hrl.errors.UnreadableReply` for an empty line.

    >>> typed("go to desk 1")
    'Action: go to desk 1'
    """
    reply = text.first_line(line, text.ACTION_CHARACTERS)
    return reply if _ACTION.search(reply) else f"Action: {reply}"
