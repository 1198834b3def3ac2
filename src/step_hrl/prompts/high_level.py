"""pi_h: names the next subtask from the instruction, the completed subtasks and the last subtask's final progress."""

from __future__ import annotations

from dataclasses import dataclass

from step_hrl.prompts import text
from step_hrl.types import NOTHING, Observation


@dataclass(frozen=True, slots=True)
class State:
    """s^h_k = (c, G_k, p^_(k-1), o^k_0) (paper, section 3.1)."""

    instruction: str
    completed_subtasks: tuple[str, ...]
    final_progress: str
    observation: Observation

    @property
    def prompt(self) -> str:
        """See :func:`render`."""
        return render(self)


def render(state: State) -> str:
    """The prompt of pi_h, the same for acting and training."""
    return text.prompt(
        [
            *text.observation_sections(state.observation),
            ("Task", text.one_line(state.instruction)),
            ("Done", _completed(state.completed_subtasks)),
            ("Progress", state.final_progress),
        ],
        "Next subtask",
    )


def utterance(subtask: str) -> str:
    """The utterance of pi_h for this subtask."""
    return subtask


def parse(reply: str) -> str:
    """The subtask in a reply. Raises :class:`~step_hrl.errors.UnreadableReply`."""
    return text.first_line(reply, text.SUBTASK_CHARACTERS)


def _completed(subtasks: tuple[str, ...]) -> str:
    if not subtasks:
        return NOTHING
    earlier = len(subtasks) - text.SHOWN_SUBTASKS
    latest = "; ".join(subtasks[-text.SHOWN_SUBTASKS :])
    return f"({earlier} earlier); {latest}" if earlier > 0 else latest
