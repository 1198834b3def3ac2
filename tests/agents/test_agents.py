"""Prompts at acting equal prompts at training for every agent, and transcripts are bounded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scripted import CountingEnv

from step_hrl.agents.base import Agent, EpisodeLog
from step_hrl.agents.registry import agent_for, replies_for
from step_hrl.config import (
    AgentConfig,
    FlatConfig,
    HistoryHrlConfig,
    NoHierarchyConfig,
    NoLocalProgressConfig,
    ReactConfig,
    StepHrlConfig,
)
from step_hrl.data.transitions import trust_policy
from step_hrl.envs.base import Info, TextEnv, TimeLimit
from step_hrl.errors import RecipeError, UnreadableReply
from step_hrl.prompts import react, text, transcript
from step_hrl.prompts.transcript import Bounds, Event
from step_hrl.types import Ask, Episode, Observation, Outcome, Role, Task, Usage, Utterance

TASK = Task("counting", "count", 0, "train", "Count to five.")
AGENTS: dict[str, AgentConfig] = {
    "step_hrl": StepHrlConfig(),
    "no_hierarchy": NoHierarchyConfig(),
    "no_local_progress": NoLocalProgressConfig(),
    "flat": FlatConfig(),
    "flat_window-2": FlatConfig(history_steps=2),
    "history_hrl": HistoryHrlConfig(),
}


class EndlessEnv:
    """An environment in which every action is valid, that never ends and cycles through its texts."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = cycle(texts)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        return self._seen(), {"score": 0.0, "success": False, "is_valid_action": True, "instruction": task.instruction}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        return (
            self._seen(),
            0.0,
            False,
            False,
            {"score": 0.0, "success": False, "is_valid_action": True, "instruction": ""},
        )

    def _seen(self) -> Observation:
        return Observation(next(self._texts), next(self._texts), next(self._texts))


def played(
    agent: Agent, answer: Callable[[Ask], str], limit: int = 20, world: TextEnv | None = None
) -> tuple[Episode, list[Ask]]:
    """One episode, in the counting environment by default, and all its asks."""
    env = TimeLimit(world or CountingEnv(), limit)
    observation, _ = env.reset(TASK)
    log, asked = EpisodeLog(TASK), list[Ask]()
    play = agent.play(TASK, observation, log)
    wanted = next(play)
    info = {"score": 0.0, "success": False}
    try:
        while True:
            if isinstance(wanted, Ask):
                asked.append(wanted)
                wanted = play.send(Utterance(answer(wanted), Usage(len(wanted.prompt), 0, 1)))
            else:
                seen, reward, terminated, truncated, info = env.step(wanted.action)
                wanted = play.send(Outcome(seen, reward, terminated, truncated, info["is_valid_action"]))
    except StopIteration:
        return Episode("e", log.task, log.segments, info["score"], info["success"]), asked


def counting(agent_type: str) -> Callable[[Ask], str]:
    """Subtasks of two counts each; every third action is invalid."""
    decisions = 0

    def answer(ask: Ask) -> str:
        nonlocal decisions
        if ask.role is not Role.LOW:
            return "count twice" if ask.role is Role.HIGH else "counted"
        decisions += 1
        action = "dance" if decisions % 3 == 0 else "count"
        return action if agent_type == "flat" else f"{action}; {decisions % 2 == 0}"

    return answer


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("limit", [4, 20])
def test_prompts_at_acting_equal_prompts_at_training(name: str, limit: int) -> None:
    config = AGENTS[name]
    agent = agent_for(config)
    episode, asked = played(agent, counting(config.type), limit)
    assert agent.name == name
    assert episode.success == (limit == 20)
    cut = agent.transitions(episode, trust_policy)
    for role in Role:
        read = [ask.prompt for ask in asked if ask.role is role]
        assert [transition.state for transition in cut if transition.role is role] == read
    assert {ask.role for ask in asked} == {
        "step_hrl": set(Role),
        "no_hierarchy": {Role.LOW, Role.PROGRESS},
        "no_local_progress": {Role.HIGH, Role.LOW},
        "history_hrl": {Role.HIGH, Role.LOW},
    }.get(name, {Role.LOW})
    assert replies_for(config).keys() == {ask.role for ask in asked}, "a person can take every role, and no other"


@pytest.mark.parametrize("config", [*AGENTS.values(), ReactConfig()])
@pytest.mark.parametrize("line", ["count", "count; True"])
def test_typed_replies_are_parsed_by_every_agent(config: AgentConfig, line: str) -> None:
    replies = replies_for(config)
    episode, asked = played(agent_for(config), lambda ask: replies[ask.role].utterance(line))
    assert episode.success == (line == "count" or config.type not in ("flat", "react"))
    assert all(step.action == line.removesuffix("; True") or not episode.success for step in episode.steps)
    assert all(step.unreadable is None and step.progress_unreadable is None for step in episode.steps)
    for role in {ask.role for ask in asked}:
        for nothing in ("", " \t"):
            with pytest.raises(UnreadableReply):
                replies[role].utterance(nothing)


@pytest.mark.parametrize("name", AGENTS)
def test_each_next_state_is_the_next_prompt_of_its_role(name: str) -> None:
    agent = agent_for(AGENTS[name])
    episode, _ = played(agent, counting(AGENTS[name].type), 4)
    for role in Role:
        cut = [transition for transition in agent.transitions(episode, trust_policy) if transition.role is role]
        for now, then in pairwise(cut):
            assert now.terminated or now.next_state == then.state
        assert not cut or cut[-1].terminated or cut[-1].next_state is not None


@pytest.mark.parametrize("name", AGENTS)
def test_demonstrations_give_transitions_in_the_prompts_of_every_agent(name: str) -> None:
    demonstration, _ = played(agent_for(StepHrlConfig()), counting("step_hrl"))
    agent = agent_for(AGENTS[name])
    low = [transition for transition in agent.transitions(demonstration, trust_policy) if transition.role is Role.LOW]
    assert [transition.utterance.split(";")[0] for transition in low] == [step.action for step in demonstration.steps]
    if name not in ("step_hrl", "no_hierarchy"):
        assert not any("counted" in transition.state for transition in low)
    if name == "no_hierarchy":
        assert all("Subtask: Count to five." in transition.state for transition in low)
        assert [transition.utterance.endswith("True") for transition in low] == [False] * (len(low) - 1) + [True]


def test_progress_without_a_hierarchy_lists_completed_subtasks() -> None:
    demonstration, _ = played(agent_for(StepHrlConfig()), counting("step_hrl"))
    cut = agent_for(NoHierarchyConfig()).transitions(demonstration, trust_policy)
    progress = [transition.utterance for transition in cut if transition.role is Role.PROGRESS]
    assert progress[:3] == ["counted", "count twice; counted", "count twice; counted; counted"]


def test_a_flat_policy_has_the_rewards_of_the_environment() -> None:
    episode, _ = played(agent_for(AGENTS["flat"]), counting("flat"))
    cut = agent_for(AGENTS["flat"]).transitions(episode, trust_policy)
    assert [transition.reward for transition in cut] == [step.reward for step in episode.steps]
    assert [transition.terminated for transition in cut] == [False] * (len(cut) - 1) + [True]


REACT_PROMPT = """\
You act in a world of text, one action at a time, to do the task. First think about what to do next, then act. \
Answer in two lines:
Thought: what you think
Action: one action
Say `count`.
Task: Count to five.
History: count > You count to 1.
Look: room: 1 marks
Thought:"""


def test_react_prompts_a_model_and_cannot_be_trained() -> None:
    agent = agent_for(ReactConfig(instructions="Say `count`.\n"))
    episode, asked = played(
        agent, lambda ask: "The next number.\nAction: count" if len(ask.prompt) % 5 else "I give up.", 9
    )
    assert agent.name == "react"
    assert all(step.action == "count" or step.unreadable == "I give up." for step in episode.steps)
    assert [ask.role for ask in asked] == [Role.LOW] * len(episode.steps)
    events = (Event("count", "You count to 1."),)
    state = transcript.State("Task", "Count to five.", events, Observation("", "room: 1 marks"), Bounds(1000))
    assert react.State(state, "Say `count`.\n").prompt == REACT_PROMPT
    with pytest.raises(RecipeError, match="react is prompted, not trained"):
        agent.transitions(episode, trust_policy)


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Thought: hm\nAction: go to desk 1", "go to desk 1"),
        ("hm\n**Action:** `open drawer 1`.", "open drawer 1"),
        ("action: look\nAction: sleep", "look"),
    ],
)
def test_react_parses_the_action_after_a_thought(reply: str, action: str) -> None:
    assert react.parse(reply) == action


@pytest.mark.parametrize("reply", ["", "look", "Action:", "My action is: look"])
def test_a_react_reply_without_an_action_is_unreadable(reply: str) -> None:
    with pytest.raises(UnreadableReply):
        react.parse(reply)


FLAT_PROMPT = """\
Task: Count to five.
History: (1 earlier); dance > Nothing happens.; count > You count to 2.
Look: room: 2 marks
Inventory: chalk
Next action:"""


def test_transcript_prompt_snapshot() -> None:
    events = (Event("count", "You count to 1."), Event("dance", "Nothing happens."), Event("count", "You count to 2."))
    seen = Observation("You count to 2.", "room: 2 marks", "chalk")
    assert transcript.State("Task", "Count to five.", events, seen, Bounds(1000, steps=2)).prompt == FLAT_PROMPT
    start = transcript.State("Task", "Count to five.", (), Observation("You enter.", "room: 0 marks"), Bounds(9))
    assert "\nHistory: None\nLook: room: 0 marks\nObservation: You enter.\n" in start.prompt


@pytest.mark.parametrize(
    ("characters", "steps", "left_out"), [(1000, None, 0), (1000, 3, 2), (1000, 9, 0), (14, None, 3), (6, None, 5)]
)
def test_a_transcript_over_its_bounds_drops_the_oldest_steps(characters: int, steps: int | None, left_out: int) -> None:
    assert transcript.dropped([Event("a", "b")] * 5, Bounds(characters, steps)) == left_out


@given(st.lists(st.tuples(st.text(max_size=400), st.text(max_size=900)), max_size=12), st.integers(1, 2000))
def test_a_transcript_never_exceeds_its_bound(steps: list[tuple[str, str]], characters: int) -> None:
    events = tuple(Event(action[: text.ACTION_CHARACTERS], answer) for action, answer in steps)
    empty, full = (
        transcript.State("Task", "g", shown, Observation(""), Bounds(characters)).prompt for shown in ((), events)
    )
    assert len(full) <= len(empty) + characters + len("(12 earlier); ")


@pytest.mark.parametrize(("name", "kept"), [("flat", None), ("flat_window-2", 2), ("history_hrl", None)])
def test_dropped_steps_are_counted(name: str, kept: int | None) -> None:
    agent = agent_for(AGENTS[name].model_copy(update={} if kept else {"history_characters": 30}))
    episode, asked = played(agent, counting(AGENTS[name].type))
    read = [ask.prompt for ask in asked if ask.role is Role.LOW]
    notes = [f"({step.dropped} earlier); " if step.dropped else "History: " for step in episode.steps]
    assert all(note in prompt for note, prompt in zip(notes, read, strict=True))
    assert sum(bool(step.dropped) for step in episode.steps) == sum(" earlier); " in prompt for prompt in read) > 0


def test_an_agent_without_a_transcript_drops_no_steps() -> None:
    episode, _ = played(agent_for(StepHrlConfig()), counting("step_hrl"))
    assert {step.dropped for step in episode.steps} == {None}


BOUNDS = {
    Role.HIGH: text.SHOWN_SUBTASKS * (text.SUBTASK_CHARACTERS + len("; ")) + text.PROGRESS_CHARACTERS,
    Role.LOW: text.SUBTASK_CHARACTERS + text.PROGRESS_CHARACTERS,
    Role.PROGRESS: text.SUBTASK_CHARACTERS + text.PROGRESS_CHARACTERS + text.ACTION_CHARACTERS,
}
"""Upper bound on the characters of earlier replies in a role's prompt."""
OBSERVATION_CHARACTERS = text.TEXT_CHARACTERS + text.LOOK_CHARACTERS + text.INVENTORY_CHARACTERS
LABELS = 200


@given(st.lists(st.text(max_size=5000), min_size=1, max_size=4), st.text(min_size=1, max_size=900), st.data())
@settings(max_examples=30)
def test_no_prompt_of_the_papers_agent_grows_with_the_episode(
    answers: list[str], reply: str, data: st.DataObject
) -> None:
    done = data.draw(st.lists(st.booleans(), min_size=1, max_size=9))
    env, asked = EndlessEnv(answers), 0

    def answer(ask: Ask) -> str:
        nonlocal asked
        asked += 1
        assert len(ask.prompt) <= LABELS + len(TASK.instruction) + BOUNDS[ask.role] + OBSERVATION_CHARACTERS
        return f"{reply[:300]}; {done[asked % len(done)]}" if ask.role is Role.LOW else reply

    played(agent_for(StepHrlConfig()), answer, 60, env)


@pytest.mark.parametrize(("name", "reply", "grows"), [("step_hrl", "walk; False", False), ("flat", "walk", True)])
def test_transcripts_grow_with_the_episode(name: str, reply: str, grows: bool) -> None:
    _, asked = played(agent_for(AGENTS[name]), lambda _: reply, 80, EndlessEnv(["far"]))
    lengths = [len(ask.prompt) for ask in asked if ask.role is Role.LOW]
    assert (lengths[-1] > 2 * lengths[9]) == grows
    assert grows or len(set(lengths[1:])) == 1
