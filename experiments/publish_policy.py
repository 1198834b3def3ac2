"""Pack a trained policy of adapters to be shared: weights in bfloat16, recipe, note and card, without the tokenizer.

    .venv/bin/python experiments/publish_policy.py runs/scienceworld-smollm2 policies/scienceworld-smollm2

The packed policy is the one to evaluate (``step-hrl eval --policy policies/scienceworld-smollm2``), because rounding
changes its weights; a second call then writes a card with its scores.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from rich.console import Console

from step_hrl.models.adapters import CONFIG_FILE
from step_hrl.models.policy_folder import NOTES_FILE
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe, to_yaml
from step_hrl.report import model_card_files
from step_hrl.runs.files import write_if_changed, written_whole
from step_hrl.runs.layout import RECIPE_FILE

WEIGHTS = "adapter_model.safetensors"
_safetensors = cast(Any, safetensors.torch)  # partly annotated


def main() -> None:
    """Pack the policy, or write the card of one that is packed."""
    if len(sys.argv) != 3:
        sys.exit("usage: publish_policy.py RUN FOLDER")
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    recipe = load_recipe(run / RECIPE_FILE, [f"output={run}"])
    pipeline = Pipeline(recipe, Console(stderr=True))
    policy = pipeline.policy_folder
    if not folder.is_dir():
        with written_whole(folder) as scratch:
            for name in (CONFIG_FILE, NOTES_FILE):
                shutil.copy2(policy / name, scratch / name)
            weights = {name: each.to(torch.bfloat16) for name, each in _safetensors.load_file(policy / WEIGHTS).items()}
            _safetensors.save_file(weights, scratch / WEIGHTS, {"format": "pt"})
            write_if_changed(scratch / RECIPE_FILE, to_yaml(recipe.model_copy(update={"output": None})))
    digest = pipeline.context.policy_digest(folder)
    model_card_files.write_card(folder, policy, digest, pipeline.context.layout.evaluations)
    print(json.dumps({"policy": digest, "megabytes": round((folder / WEIGHTS).stat().st_size / 1e6, 1)}))


if __name__ == "__main__":
    main()
