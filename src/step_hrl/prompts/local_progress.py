"""pi_p: keeps a short text of what has happened inside the running subtask."""

from __future__ import annotations

from dataclasses import dataclass

from step_hrl.prompts import text
from step_hrl.types import Observation


@dataclass(frozen=True, slots=True)
class State:
    """s^p_t = (g_k, p^k_(t-1), a^k_(t-1), o^k_t) (paper, section 3.1)."""

    subtask: str
    local_progress: str
    action: str
    observation: Observation

    @property
    def prompt(self) -> str:
        """See :func:`render`."""
        return render(self)


def render(state: State) -> str:
    """The prompt pi_p reads, at acting and at training alike."""
    return text.prompt(
        "Update the progress.",
        [
            ("Subtask", state.subtask),
            ("Progress", state.local_progress),
            ("Action", state.action or "(unreadable)"),
            *text.observation_sections(state.observation),
        ],
        "New progress",
    )


def utterance(local_progress: str) -> str:
    """What pi_p says for this progress."""
    return local_progress


def parse(reply: str) -> str:
    """The progress a reply holds. Raises :class:`~step_hrl.errors.UnreadableReply`."""
    return text.first_line(reply, text.PROGRESS_CHARACTERS)
