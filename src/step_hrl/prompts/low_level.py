"""pi_l: chooses the next primitive action and decides whether it completes the subtask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from step_hrl.errors import UnreadableReply
from step_hrl.prompts import text
from step_hrl.types import Observation


@dataclass(frozen=True, slots=True)
class State:
    """s^l_t = (g_k, p^k_t, o^k_t) (paper, section 3.1)."""

    subtask: str
    local_progress: str
    observation: Observation

    @property
    def prompt(self) -> str:
        """See :func:`render`."""
        return render(self)


class Decision(NamedTuple):
    """a^k_t, and whether it completes the subtask."""

    action: str
    subtask_done: bool


def render(state: State) -> str:
    """The prompt of pi_l, the same for acting and training."""
    return text.prompt(
        [
            *text.observation_sections(state.observation),
            ("Subtask", state.subtask),
            ("Progress", state.local_progress),
        ],
        "Next action",
    )


def utterance(decision: Decision) -> str:
    """The utterance of pi_l for this decision: ``action; True`` or ``action; False``."""
    return f"{decision.action}; {decision.subtask_done}"


def parse(reply: str) -> Decision:
    """The decision in a reply. Raises :class:`~step_hrl.errors.UnreadableReply` where action or flag is missing."""
    action, separator, flag = text.first_line(reply, text.ACTION_CHARACTERS).rpartition(";")
    action, flag = action.strip(), flag.strip().lower()
    if not separator or not action or flag not in ("true", "false"):
        raise UnreadableReply("expected `action; True` or `action; False`")
    return Decision(action, flag == "true")


def typed(line: str) -> str:
    """The utterance for a line typed by a person; without a flag, the action does not complete the subtask.

    Raises :class:`~step_hrl.errors.UnreadableReply` for an empty line and for a flag other than true or false.

    >>> typed("take mug"), typed("take mug; true")
    ('take mug; False', 'take mug; True')
    """
    reply = text.first_line(line, text.ACTION_CHARACTERS)
    return utterance(parse(reply if ";" in reply else f"{reply}; False"))
