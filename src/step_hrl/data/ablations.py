"""Episodes as an agent that lacks something would have lived them: demonstrations for ablations. Pure."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.prompts.text import PROGRESS_CHARACTERS
from step_hrl.types import NOTHING, Episode, Segment, Step


def without_local_progress(episode: Episode) -> Episode:
    """Nobody keeps a progress: every one is empty, and none is written."""
    return replace(
        episode,
        segments=tuple(
            replace(
                segment,
                previous_final_progress=NOTHING,
                steps=tuple(
                    replace(step, local_progress=NOTHING, next_local_progress=None, progress_unreadable=None)
                    for step in segment.steps
                ),
            )
            for segment in episode.segments
        ),
    )


def without_hierarchy(episode: Episode) -> Episode:
    """The instruction is the only subtask, and one progress goes through all of it.

    It says which parts are done, how the last of them ended, and how the running one stands: what the high level would
    have read in names and final progress of completed subtasks is left to it.
    """
    segments = [segment for segment in episode.segments if segment.unreadable is None]
    if not segments:
        return episode
    steps: list[Step] = []
    done, final = tuple[str, ...](), NOTHING
    for segment in segments:
        steps += _steps_of_all(segment, done, final)
        if not segment.is_noise:
            done, final = (*done, segment.subtask), segment.final_progress
    completes = replace(steps[-1], subtask_done=episode.success)
    last = segments[-1]
    return replace(
        episode,
        segments=(
            Segment(
                subtask=episode.task.instruction,
                completed_subtasks=(),
                previous_final_progress=NOTHING,
                first_observation=segments[0].first_observation,
                steps=(*steps[:-1], completes),
                ended_by="policy" if episode.success else last.ended_by,
            ),
        ),
    )


def _steps_of_all(segment: Segment, done: tuple[str, ...], final: str) -> list[Step]:
    """A segment's steps, their progress written as of the whole episode's; of one named by mistake it says nothing."""
    told: list[Step] = []
    for number, step in enumerate(segment.steps):
        ends = number == len(segment.steps) - 1 and segment.ended_by == "policy"
        before = after = _progress(done, final, NOTHING)
        if not segment.is_noise:
            before = _progress(done, final, step.local_progress)
            running = step.next_local_progress or NOTHING
            after = _progress((*done, segment.subtask), running, NOTHING) if ends else _progress(done, final, running)
        told.append(
            replace(
                step,
                local_progress=before,
                next_local_progress=None if step.next_local_progress is None else after,
                subtask_done=False,
                is_noise=step.is_noise or bool(segment.is_noise),
            )
        )
    return told


def _progress(completed: tuple[str, ...], final: str, running: str) -> str:
    """Completed parts, how the last of them ended, and how the running one stands; the oldest parts give way."""
    latest = [part for part in (final, running) if part != NOTHING]
    parts = list(completed)
    while parts and len("; ".join([*parts, *latest])) > PROGRESS_CHARACTERS:
        parts.pop(0)
    return "; ".join([*parts, *latest]) or NOTHING
