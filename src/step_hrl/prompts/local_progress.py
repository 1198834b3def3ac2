"""pi_p: maintains a short text of the progress within the current subtask."""

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
    """The prompt of pi_p, the same for acting and training."""
    return text.prompt(
        [
            *text.observation_sections(state.observation),
            ("Subtask", state.subtask),
            ("Progress", state.local_progress),
            ("Action", state.action or "(unreadable)"),
        ],
        "New progress",
    )


def utterance(local_progress: str) -> str:
    """The utterance of pi_p for this progress."""
    return local_progress


def parse(reply: str) -> str:
    """The progress in a reply. Raises :class:`~step_hrl.errors.UnreadableReply`."""
    return text.first_line(reply, text.PROGRESS_CHARACTERS)
