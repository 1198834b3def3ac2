"""A snapshot of the model card; and huggingface_hub reads the card whatever a recipe holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from step_hrl.evaluation import summarize
from step_hrl.report.model_card import Decision, Outcome, Scored, Training, render
from step_hrl.types import Episode, Task

TRAINING = Training(
    recipe="two-rooms",
    recipe_yaml="name: two-rooms\n",
    seed=3,
    stage=0,
    world="pantry",
    tasks=("put-one", "put-two"),
    demonstrations=320,
    demonstrations_split="train",
    collected=0,
    collected_split="train",
    validation=16,
    decisions=12345,
    tokens=None,
    backbone="tiny",
    base_model=None,
    adapter=False,
    prompt_format="plain",
    agent="step_hrl",
    versions={"step_hrl": "0.1.0", "pantry_layouts": "ab12", "torch": "2.13.0"},
    examples={"low": Decision("Look: hall\nSubtask: find plate\nNext action:", "open chest; False")},
)
OUTCOME = Outcome(updates=152, seconds=372.0, parameters=450_000)


def scored(split: str, *scores: float) -> Scored:
    episodes = [
        Episode(f"{split}-{n}", Task("pantry", "put-one", n, split, "Put."), (), score, score == 1.0, 0, {}, None)
        for n, score in enumerate(scores)
    ]
    return Scored(summarize(episodes, seed=0), {"split": split, "policy": "policy:0", "step_hrl": "0.1.0", "seed": "3"})


CARD = """\
---
library_name: transformers
model_name: two-rooms
pipeline_tag: text-generation
tags:
- step-hrl
- hierarchical-reinforcement-learning
- behavior-cloning
- pantry
---

# two-rooms

A policy for tasks of the text world pantry, trained by behavior cloning with step-hrl \
([STEP-HRL](https://arxiv.org/abs/2604.05808)). It plays as the agent step_hrl.

|  |  |
| --- | --- |
| recipe | two-rooms; see recipe.yaml in this folder |
| seed | 3 |
| world | pantry |
| tasks | put-one, put-two |
| backbone | a Llama trained from scratch |
| parameters | 450,000 |
| demonstrations | 320 on the split train |
| validation episodes | 16 |
| training decisions | 12,345 |
| training | behavior cloning |
| updates | 152 |
| wall time | 6.2 min |

## Scores

Scores out of 100 with 95% bootstrap intervals; n is the number of episodes.

|  | seen |
| --- | --- |
| episodes | 2 |
| mean score over episodes | 75.0 (50.0 to 100.0) |
| mean score over tasks | 75.0 (50.0 to 100.0) |
| failed episodes, % | 0.0 |
| success rate, % | 50.0 |
| actions an episode | 0.0 |
| tokens an action | 0 |
| of the high level | 0 |
| of the low level | 0 |
| of the local progress | 0 |
| longest prompt, tokens | 0 |
| invalid actions, % | 0.0 |
| unreadable replies, % | 0.0 |

| mean score by task | seen |
| --- | --- |
| put-one | 75.0 (n=2) |

## Versions

|  | training | seen |
| --- | --- | --- |
| step_hrl | 0.1.0 | 0.1.0 |
| pantry_layouts | ab12 |  |
| torch | 2.13.0 |  |
| seed |  | 3 |

## Use

Replace FOLDER by this folder. step-hrl plays one episode, or evaluates the policy on a split:

```sh
step-hrl play --policy FOLDER
step-hrl eval --policy FOLDER
```

Load it with transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

## Prompts and replies

The model answers each prompt, as plain text, with one line: a space, the utterance and a line end. \
Other replies cannot be parsed. One training decision of each role:

low:

```text
Look: hall
Subtask: find plate
Next action: open chest; False
```

## Limits

- It was trained from scratch on the tasks above and knows only the words of their episodes.
- It is a small model (450,000 parameters); its results do not predict those of larger ones.
"""


def test_the_card_matches_its_snapshot() -> None:
    assert render(TRAINING, OUTCOME, {"seen": scored("seen", 0.5, 1.0)}) == CARD


def test_unknown_facts_are_left_out() -> None:
    card = render(replace(TRAINING, validation=0), Outcome(None, None, None), {})
    assert "Not evaluated yet." in card
    for word in ("updates", "wall time", "parameters", "collected", "validation", "tokens |", "license", "None |"):
        assert word not in card


def test_stage_2_with_adapters_on_a_model_of_the_hub() -> None:
    adapted = replace(
        TRAINING, stage=2, collected=80, backbone="a/b-135M", base_model="a/b-135M", adapter=True, tokens=9000
    )
    chosen = Outcome(updates=40, seconds=59.6, parameters=9000, chosen="checkpoint-20", chosen_on="dev")
    card = render(replace(adapted, prompt_format="chat"), chosen, {"dev": scored("dev", 0.25)})
    data = ModelCard(card).data.to_dict()
    assert data["base_model"] == "a/b-135M"
    assert data["library_name"] == "peft"
    assert "offline-reinforcement-learning" in data["tags"]
    for line in (
        "| backbone | a/b-135M |",
        "| parameters | 9,000 (adapters) |",
        "| collected episodes | 80 on the split train |",
        "| training | offline RL (round 2), from the policy of round 1 |",
        "| training tokens | 9,000 |",
        "| wall time | 60 s |",
        "| checkpoint | checkpoint-20, the best on dev |",
        'tokenizer = AutoTokenizer.from_pretrained("a/b-135M")',
        "- It was trained only on the tasks above.",
        "- Its checkpoint was selected on dev, so its score on that split is biased upward.",
    ):
        assert f"\n{line}\n" in f"{card}\n"
    assert "as a user message of the tokenizer's chat template" in card
    assert "(peft loads the adapters onto the base model)" in card
    assert "small model" not in card


HOSTILE = "a|b `c` \"d\" 'e'\n---\n# f: [g](h) <script> ```\n| i | \u2028 *j* {k} &lt; $x$ #"


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    versions = {HOSTILE: HOSTILE}
    example = Decision(f"{HOSTILE}\n`````\nNext action:", HOSTILE)
    hostile = replace(
        TRAINING,
        recipe=HOSTILE,
        world=HOSTILE,
        tasks=(HOSTILE,),
        agent=HOSTILE,
        versions=versions,
        examples={HOSTILE: example},
    )
    hostile = replace(hostile, demonstrations_split=HOSTILE, backbone=HOSTILE)
    card = render(hostile, replace(OUTCOME, chosen=HOSTILE, chosen_on=HOSTILE), {HOSTILE: scored(HOSTILE, 1.0)})
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.to_dict()["model_name"] == " ".join(HOSTILE.split())
    assert read.data.to_dict()["tags"][-1] == " ".join(HOSTILE.split())
    plain = render(TRAINING, OUTCOME, {"seen": scored("seen", 1.0)})
    assert headings(read.text) == [" ".join(["#", *escaped().split()]), *headings(plain)[1:]]
    tables = [line for line in outside_blocks(read.text) if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {3, 4}
    assert "<script>" not in "".join(outside_blocks(read.text)).replace("\\<script\\>", "")


def escaped() -> str:
    return (
        "a\\|b \\`c\\` \"d\" 'e' --- \\# f: \\[g\\](h) \\<script\\> \\`\\`\\` \\| i \\| \\*j\\* {k} \\&lt; \\$x\\$ \\#"
    )


def headings(text: str) -> list[str]:
    return [line for line in outside_blocks(text) if line.startswith("#")]


def outside_blocks(text: str) -> list[str]:
    """The lines of a Markdown text outside its fenced blocks."""
    fence, kept = "", list[str]()
    for line in text.splitlines():
        run = line[: len(line) - len(line.lstrip("`"))]
        if not fence and len(run) >= 3:
            fence = run
        elif fence and len(run) >= len(fence) and run == line:
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence
    return kept


@pytest.mark.parametrize("name", ["yes", "1e5", "null", "---", "", "- a", "a: b # c", "é", "{}", "%x", "@y", "!z"])
def test_names_that_look_like_other_yaml_values_stay_strings(name: str) -> None:
    assert ModelCard(render(replace(TRAINING, recipe=name), OUTCOME, {})).data.to_dict().get("model_name", "") == name
