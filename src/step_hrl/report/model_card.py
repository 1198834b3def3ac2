"""Renders a policy's Hugging Face model card from the records of its training and evaluations. Pure.

Texts of recipes, worlds and models are escaped: they cannot end the YAML, a table or a code block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from step_hrl.evaluation import Summary, by_task, overview
from step_hrl.prompts.text import one_line

SMALL_PARAMETERS = 1_000_000_000
"""Below this size, the card names the limits of small models."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A training prompt and its utterance."""

    prompt: str
    utterance: str


@dataclass(frozen=True, slots=True)
class Training:
    """Data and settings of a training run, recorded when it was last started.

    ``stage`` counts the rounds of stage 2 from 1; 0 is stage 1. ``demonstrations``, ``collected`` and ``validation``
    count episodes. ``decisions`` is the number of training transitions; ``examples`` has one of each role. ``tokens``
    is the budget of tokens, shared ones once, if there is one; ``base_model`` is the backbone's hub id, if it has one.
    """

    recipe: str
    recipe_yaml: str
    seed: int
    stage: int
    world: str
    tasks: tuple[str, ...]
    demonstrations: int
    demonstrations_split: str
    collected: int
    collected_split: str
    validation: int
    decisions: int
    tokens: int | None
    backbone: str
    base_model: str | None
    adapter: bool
    prompt_format: Literal["plain", "chat"]
    agent: str
    versions: Mapping[str, str]
    examples: Mapping[str, Decision]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a training run. None is unknown.

    ``updates`` and ``seconds`` (wall time) are totals over resumed runs; ``parameters`` counts the weights in the
    policy's folder. ``chosen`` is the checkpoint that scored best on the split ``chosen_on``.
    """

    updates: int | None
    seconds: float | None
    parameters: int | None
    chosen: str | None = None
    chosen_on: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """An evaluation of the policy, with its provenance."""

    summary: Summary
    provenance: Mapping[str, str]


def render(training: Training, outcome: Outcome, scored: Mapping[str, Scored]) -> str:
    """The card; ``scored`` holds evaluations by split. Unknown facts are left out."""
    sections = [
        f"# {_plain(training.recipe)}\n\n{_opening(training)}",
        _table(["", ""], _facts(training, outcome)),
        f"## Scores\n\n{_scores(scored)}",
        f"## Versions\n\n{_versions(training, scored)}",
        f"## Use\n\n{_use(training)}",
        f"## Prompts and replies\n\n{_decisions(training)}",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(training, outcome, scored)),
    ]
    front = yaml.safe_dump(_metadata(training), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(training: Training) -> dict[str, Any]:
    """The front matter. It names no license, which depends on the backbone and the publisher."""
    learning = "offline-reinforcement-learning" if training.stage else "behavior-cloning"
    origin = {"base_model": training.base_model} if training.base_model else {}
    return {
        "library_name": "peft" if training.adapter else "transformers",
        **origin,
        "model_name": one_line(training.recipe),
        "pipeline_tag": "text-generation",
        "tags": ["step-hrl", "hierarchical-reinforcement-learning", learning, one_line(training.world)],
    }


def _opening(training: Training) -> str:
    return (
        f"A policy for tasks of the text world {_plain(training.world)}, trained by {_stage(training)} with step-hrl "
        f"([STEP-HRL](https://arxiv.org/abs/2604.05808)). It plays as the agent {_plain(training.agent)}."
    )


def _stage(training: Training) -> str:
    return f"offline RL (round {training.stage})" if training.stage else "behavior cloning"


def _before(training: Training) -> str:
    before = "behavior cloning" if training.stage == 1 else f"round {training.stage - 1}"
    return f", from the policy of {before}" if training.stage else ""


def _facts(training: Training, outcome: Outcome) -> list[list[str]]:
    known: dict[str, str | None] = {
        "recipe": f"{training.recipe}; see recipe.yaml in this folder",
        "seed": str(training.seed),
        "world": training.world,
        "tasks": ", ".join(training.tasks),
        "backbone": "a Llama trained from scratch" if _from_scratch(training) else training.backbone,
        "parameters": _number(outcome.parameters, " (adapters)" if training.adapter else ""),
        "demonstrations": f"{training.demonstrations} on the split {training.demonstrations_split}",
        "collected episodes": f"{training.collected} on the split {training.collected_split}"
        if training.collected
        else None,
        "validation episodes": _number(training.validation or None),
        "training decisions": _number(training.decisions),
        "training": f"{_stage(training)}{_before(training)}",
        "updates": _number(outcome.updates),
        "training tokens": _number(training.tokens),
        "wall time": _time(outcome.seconds),
        "checkpoint": f"{outcome.chosen}, the best on {outcome.chosen_on}" if outcome.chosen else None,
    }
    return [[label, text] for label, text in known.items() if text is not None]


def _scores(scored: Mapping[str, Scored]) -> str:
    if not scored:
        return "Not evaluated yet."
    summaries = [each.summary for each in scored.values()]
    overall = [row for row in overview(summaries) if row[0] != "split"]  # the column's header
    return (
        "Scores out of 100 with 95% bootstrap intervals; n is the number of episodes.\n\n"
        f"{_table(['', *scored], overall)}\n\n{_table(['mean score by task', *scored], by_task(summaries))}"
    )


def _versions(training: Training, scored: Mapping[str, Scored]) -> str:
    columns = [training.versions, *(each.provenance for each in scored.values())]
    skipped = {"recipe", "split", "policy"}
    names = [name for name in dict.fromkeys(name for column in columns for name in column) if name not in skipped]
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    return _table(["", "training", *scored], rows)


def _use(training: Training) -> str:
    adapter = " (peft loads the adapters onto the base model)" if training.adapter else ""
    tokenizer = training.base_model if training.adapter and training.base_model else "FOLDER"
    return f"""\
Replace FOLDER by this folder. step-hrl plays one episode, or evaluates the policy on a split:

```sh
step-hrl play --policy FOLDER
step-hrl eval --policy FOLDER
```

Load it with transformers{adapter}:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("{tokenizer}")
```"""


def _decisions(training: Training) -> str:
    form = "as a user message of the tokenizer's chat template" if training.prompt_format == "chat" else "as plain text"
    opening = (
        f"The model answers each prompt, {form}, with one line: a space, the utterance and a line end. "
        "Other replies cannot be parsed. One training decision of each role:"
    )
    shown = [
        f"{_plain(role)}:\n\n{_block(f'{decision.prompt} {decision.utterance}')}"
        for role, decision in training.examples.items()
    ]
    return "\n\n".join([opening, *shown])


def _limits(training: Training, outcome: Outcome, scored: Mapping[str, Scored]) -> Iterable[str]:
    if _from_scratch(training):
        yield "It was trained from scratch on the tasks above and knows only the words of their episodes."
    else:
        yield "It was trained only on the tasks above."
    if outcome.parameters is not None and outcome.parameters < SMALL_PARAMETERS and not training.adapter:
        size = f"{_number(outcome.parameters)} parameters"
        yield f"It is a small model ({size}); its results do not predict those of larger ones."
    if outcome.chosen_on in scored:
        split = _plain(str(outcome.chosen_on))
        yield f"Its checkpoint was selected on {split}, so its score on that split is biased upward."


def _from_scratch(training: Training) -> bool:
    return training.backbone == "tiny"


def _number(value: int | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:,}{unit}"


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *others = ([_plain(text) for text in line] for line in (header, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (first, ["---"] * len(header), *others))


def _plain(text: str) -> str:
    r"""Text escaped as one line of Markdown.

    >>> print(_plain("a|b `c` <d> *e* f_g _h_"))
    a\|b \`c\` \<d\> \*e\* f_g \_h\_
    """
    return re.sub(r"[\\`*\[\]<>|~$&#]|(?<!\w)_|_(?!\w)", lambda mark: f"\\{mark[0]}", one_line(text))


def _block(text: str) -> str:
    """Text as a code block whose fence is longer than any in the text.

    >>> print(_block("a ```` b"))
    `````text
    a ```` b
    `````
    """
    lines = [one_line(line) for line in text.split("\n")]
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])
