"""Convert episodes of the full agent into demonstrations for ablated agents. Pure."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.prompts.text import PROGRESS_CHARACTERS
from step_hrl.types import NOTHING, Episode, Segment, Step


def without_local_progress(episode: Episode) -> Episode:
    """The episode with empty progress everywhere and without progress updates."""
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
    """The episode as one segment, whose subtask is the instruction, with one progress text for the whole episode.

    The progress lists the completed subtasks, the final progress of the last one and the progress of the current one,
    and thus holds what the high level would have read.
    """
    segments = [segment for segment in episode.segments if segment.unreadable is None]
    if not segments:
        return episode
    steps: list[Step] = []
    done, final = tuple[str, ...](), NOTHING
    for segment in segments:
        steps += _merged_steps(segment, done, final)
        if not segment.is_noise:
            done, final = (*done, segment.subtask), segment.final_progress
    last_step = replace(steps[-1], subtask_done=episode.success)
    last = segments[-1]
    return replace(
        episode,
        segments=(
            Segment(
                subtask=episode.task.instruction,
                completed_subtasks=(),
                previous_final_progress=NOTHING,
                first_observation=segments[0].first_observation,
                steps=(*steps[:-1], last_step),
                ended_by="policy" if episode.success else last.ended_by,
            ),
        ),
    )


def _merged_steps(segment: Segment, done: tuple[str, ...], final: str) -> list[Step]:
    """A segment's steps with the progress of the whole episode, which omits subtasks that are noise."""
    steps: list[Step] = []
    for number, step in enumerate(segment.steps):
        ends = number == len(segment.steps) - 1 and segment.ended_by == "policy"
        before = after = _progress(done, final, NOTHING)
        if not segment.is_noise:
            before = _progress(done, final, step.local_progress)
            current = step.next_local_progress or NOTHING
            after = _progress((*done, segment.subtask), current, NOTHING) if ends else _progress(done, final, current)
        steps.append(
            replace(
                step,
                local_progress=before,
                next_local_progress=None if step.next_local_progress is None else after,
                subtask_done=False,
                is_noise=step.is_noise or bool(segment.is_noise),
            )
        )
    return steps


def _progress(completed: tuple[str, ...], final: str, current: str) -> str:
    """Completed subtasks, the last one's final progress and the current progress; the oldest subtasks are dropped."""
    latest = [part for part in (final, current) if part != NOTHING]
    parts = list(completed)
    while parts and len("; ".join([*parts, *latest])) > PROGRESS_CHARACTERS:
        parts.pop(0)
    return "; ".join([*parts, *latest]) or NOTHING
