"""The stages of a recipe: demonstrations, behaviour cloning, collection, offline RL, evaluation.

Each goes on where it was left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from step_hrl.agents.base import Watcher
from step_hrl.agents.registry import replies_for
from step_hrl.config import Recipe, SelectionConfig, TrainingConfig, WorldConfig
from step_hrl.data.augmentation import renamed
from step_hrl.data.episode_files import EpisodeWriter, encode_line, read_episodes
from step_hrl.data.transitions import SubtaskVerifier, deduplicate, trust_policy
from step_hrl.engines.person import Person
from step_hrl.envs.base import World
from step_hrl.envs.registry import world_for
from step_hrl.errors import DataError, RecipeError, WorldError, did_you_mean
from step_hrl.evaluation import Summary, summarize, table, write_summary
from step_hrl.experts import audit
from step_hrl.experts.base import things_of, verifier_for
from step_hrl.recipes import to_yaml
from step_hrl.report import model_card_files
from step_hrl.runs import manifest
from step_hrl.runs.files import write_atomically, write_if_changed
from step_hrl.runs.layout import EPISODES_FILE, SELECTION_FILE, STAGES, SUMMARY_FILE, VALUES_FILE, RunFolder
from step_hrl.runs.lock import RunLock, alone
from step_hrl.runs.timing import seconds, timed
from step_hrl.stages.collection import TOKENIZER, check_rewards, check_tokenizer, collection_jobs, endings_table
from step_hrl.stages.demonstrations import demonstration_jobs
from step_hrl.stages.playing import Player
from step_hrl.training import trackers
from step_hrl.types import Episode, Job, Task, Transition


class Pipeline:
    """A recipe at work in its output folder, where only one process at a time may be."""

    def __init__(self, recipe: Recipe, console: Console, *, demonstrations: Path | None = None) -> None:
        """Check the recipe's world and tasks at once. Raises :class:`~step_hrl.errors.StepHrlError`.

        ``demonstrations`` is the folder to keep demonstrations in, if not the recipe's own: recipes may share them.
        Then one process at a time makes them, and others wait for it.
        """
        self.recipe = recipe
        self.folder = RunFolder(recipe.folder, demonstrations)
        self.lock = RunLock(recipe.folder)
        self._showing = self.lock if demonstrations is None else RunLock(demonstrations.parent, waits=True)
        self.world: World = world_for(recipe.world)
        self._console = console
        self._player = Player(recipe, self.world, console, self._transitions)
        shown = recipe.demonstrations
        self._wanted = demonstration_jobs(self._tasks(shown.split, shown.per_task), shown, recipe.seed)
        if recipe.demonstrations.renamed:
            things_of(self.world.name)
        for split in recipe.evaluation.splits:
            self._tasks(split, recipe.evaluation.per_task)
        if recipe.offline_rl is not None:
            self._tasks(recipe.collection.split, recipe.collection.per_task)
            if recipe.offline_rl.keep_checkpoints > 1:
                self._tasks(recipe.offline_rl.selection.split, None)

    @property
    def policy_folder(self) -> Path:
        """The policy of the latest stage that has been done."""
        rounds = range(self.recipe.collection.rounds, 0, -1) if self.recipe.offline_rl else ()
        trained = (self.folder.policy(number) for number in rounds)
        return next((folder for folder in trained if folder.is_dir()), self.folder.policy(0))

    @alone
    def run(self) -> None:
        """All stages, then one table of what was reached. A model behind an interface is only played."""
        if self.recipe.api is not None:
            self._console.print(table({split: self.evaluate(split, None) for split in self.recipe.evaluation.splits}))
            return
        self._check_trackers()
        self.demonstrations()
        self.behavior_cloning()
        policies = {"behaviour cloning": self.folder.policy(0)}
        if self.recipe.offline_rl is not None:
            for number in range(1, self.recipe.collection.rounds + 1):
                self.collect(number)
                self.offline_rl(number)
            policies["offline RL"] = self.folder.policy(self.recipe.collection.rounds)
        few = self.recipe.evaluation.untrained_per_task
        summaries: dict[str, Summary] = {}
        for split in self.recipe.evaluation.splits:
            if few:
                summaries[f"{split}, untrained"] = self.evaluate(split, None, per_task=few)
            for label, policy in policies.items():
                summaries[f"{split}, {label}"] = self.evaluate(split, policy)
        self._console.print(table(summaries))
        self._console.print(f"Everything is in {self.recipe.folder}", markup=False)

    @alone
    def forget(self, stage: str) -> None:
        """Move aside what a stage and those after it have made, for all of it to be made again.

        Raises :class:`~step_hrl.errors.RecipeError` for a stage that does not exist.
        """
        if stage not in STAGES:
            raise RecipeError("--from", f"no stage {stage!r}", did_you_mean(stage, STAGES))
        for folder in map(self.folder.stage, STAGES[STAGES.index(stage) :]):
            if folder.is_dir():
                self._console.print(f"{folder}: moved to {manifest.move_aside(folder).name}", markup=False)

    @alone
    def demonstrations(self) -> None:
        """Have the expert show every task that is not in the file yet; print what the data is like."""
        with self._showing:
            self._demonstrate()

    def _demonstrate(self) -> None:
        config = self.recipe.demonstrations
        inputs = {
            "world": _identity(self.recipe.world),
            "versions": self.world.provenance(config.split),
            "max_episode_steps": config.max_episode_steps,
            "action_noise": config.action_noise,
            "renamed": config.renamed,
            "seed": self.recipe.seed,
        }
        self._enter(self.folder.demonstrations.parent, inputs)
        with EpisodeWriter(self.folder.demonstrations) as writer:
            left = [job for job in self._wanted if job.id not in writer.done]
            if left:
                self._player.demonstrate(left, len(self._wanted), writer)
        audits = audit.audit(self.load_demonstrations())
        plain = json.dumps(audit.as_plain(audits), indent=1)
        write_atomically(self.folder.demonstrations.with_name("audit.json"), plain + "\n")
        self._console.print(audit.table(audits))

    def load_demonstrations(self) -> list[Episode]:
        """The recipe's demonstrations in the order of its tasks. Raises DataError where some are missing."""
        found, missing = _wanted_of(read_episodes(self.folder.demonstrations), self._wanted)
        if missing:
            raise DataError(
                str(self.folder.demonstrations),
                f"{len(missing)} of {len(self._wanted)} demonstrations are missing, such as {missing[0]}",
                "run `step-hrl demos` with this recipe",
            )
        return found

    @alone
    def behavior_cloning(self) -> Path:
        """Stage 1 on the demonstrations that succeeded; returns the policy's folder."""
        # Training pulls in torch: what needs no model starts at once.
        from step_hrl.training.behavior_cloning import run

        self._check_trackers()
        solved = [episode for episode in self.load_demonstrations() if episode.success and episode.error is None]
        if not solved:
            raise DataError(str(self.folder.demonstrations), "no demonstration succeeded", "look at them with `play`")
        config = self.recipe.behavior_cloning
        inputs = {
            "demonstrations": manifest.digest(*(encode_line(episode) for episode in solved)),
            "backbone": self.recipe.backbone.model_dump(mode="json"),
            "behavior_cloning": _decisive(config),
            "reads": self._reads,
            "seed": self.recipe.seed,
        }
        policy = self.folder.policy(0)
        folder = policy.parent
        self._enter(folder, inputs)
        if self._is_there(policy, "behaviour cloning"):
            return policy
        train, validation = self._split(solved, config.validation_fraction)
        if config.deduplicate:
            train = deduplicate(train)
        train += renamed(
            [transition for transition in train if transition.clone_mask], config.renamed, self.recipe.seed
        )
        self._console.print(f"behaviour cloning: {len(train)} decisions of {len(solved)} demonstrations", markup=False)
        self._note(folder, 0, solved, [], train, validation)
        with timed(folder):
            run(config, self.recipe.backbone, train, validation, folder, self.recipe.seed)
        self._describe(policy)
        return policy

    @alone
    def collect(self, number: int = 1) -> list[Episode]:
        """Play the train tasks with the policy of the round before, to learn from; print how the episodes ended."""
        config, policy = self.recipe.collection, self.folder.policy(number - 1)
        inputs = {
            **self._playing(policy, config.split),
            "sampling": {"temperature": config.temperature, "top_p": config.top_p},
            "generation": self.recipe.generation.model_dump(mode="json"),
        }
        file = self.folder.collected(number)
        self._enter(file.parent, inputs)
        generation = self.recipe.generation.model_copy(update=inputs["sampling"])
        facts = {**self._facts(config.split), "policy": str(inputs["policy"]), TOKENIZER: _tokenizer_digest(policy)}
        collected = self._player.play(
            self._collection_jobs(number), policy, f"collecting, round {number}", file, facts, generation
        )
        self._console.print(endings_table(collected))
        return collected

    def load_collected(self, number: int) -> list[Episode]:
        """The recipe's episodes of a round, in the order of its tasks, whichever ended first.

        Raises DataError where some are missing, or stage 2 cannot use them.
        """
        file, jobs = self.folder.collected(number), self._collection_jobs(number)
        episodes, missing = _wanted_of(read_episodes(file) if file.is_file() else [], jobs)
        if missing:
            got = f"{len(episodes) or 'none'} of {len(jobs)} collected episodes"
            raise DataError(str(file), got, "run `step-hrl collect` with this recipe")
        check_tokenizer(file, episodes, _tokenizer_digest(self.folder.policy(number - 1)))
        check_rewards(file, episodes)
        return episodes

    @alone
    def offline_rl(self, number: int = 1) -> Path:
        """Stage 2 on demonstrations and collected episodes; returns the folder of the best policy."""
        from step_hrl.training import checkpoints
        from step_hrl.training.offline_rl import run

        config = self.recipe.offline_rl
        if config is None:
            raise RecipeError(
                "offline_rl", "not in the recipe", "add a section `offline_rl:`, if only with `epochs: 3`"
            )
        self._check_trackers()
        before, policy = self.folder.policy(number - 1), self.folder.policy(number)
        expert = [e for e in self.load_demonstrations() if e.error is None] if config.data_weights.expert else []
        check_rewards(self.folder.demonstrations, expert)
        rounds = range(1, number + 1) if config.data_weights.collected else ()
        collected = [episode for each in rounds for episode in self.load_collected(each)]
        inputs = {
            "episodes": manifest.digest(*(encode_line(episode) for episode in (*expert, *collected))),
            "policy": self._policy_digest(before),
            "offline_rl": _decisive(config),
            "reads": self._reads,
            "seed": self.recipe.seed,
        }
        folder = policy.parent
        self._enter(folder, inputs)
        if self._is_there(policy, "offline RL"):
            return policy
        verifier = verifier_for(self.world.name) if config.subtask_reward == "verified" else trust_policy
        train, validation = self._split([*expert, *collected], config.validation_fraction, verifier)
        ids = frozenset(episode.id for episode in collected)
        sources = f"{len(expert)} demonstrations and {len(collected)} collected episodes"
        self._console.print(f"offline RL: {len(train)} decisions of {sources}", markup=False)
        self._note(folder, number, expert, collected, train, validation)
        with timed(folder):
            run(config, self.recipe.backbone, before, train, validation, ids, folder, self.recipe.seed)
        checkpoints.publish(self._best(checkpoints.every(folder), config.selection), policy)
        self._describe(policy)
        return policy

    def _best(self, candidates: Sequence[Path], config: SelectionConfig) -> Path:
        """The checkpoint that scores best on the selection's split; the latest of equals. One alone is not played."""
        if len(candidates) == 1:
            return candidates[0]
        scores = [self.evaluate(config.split, path, per_task=config.per_task).overall.mean_score for path in candidates]
        best = max(range(len(candidates)), key=lambda index: (scores[index], index))
        chosen = {path.name: score for path, score in zip(candidates, scores, strict=True)}
        selection = {"split": config.split, "scores": chosen, "chosen": candidates[best].name}
        write_atomically(candidates[best].with_name(SELECTION_FILE), json.dumps(selection, indent=1) + "\n")
        shown = ", ".join(f"{name} {100 * score:.1f}" for name, score in chosen.items())
        self._console.print(f"offline RL: {candidates[best].name} is best on {config.split} ({shown})", markup=False)
        return candidates[best]

    @alone
    def evaluate(
        self, split: str, policy: Path | None, *, per_task: int | None = None, watcher: Watcher | None = None
    ) -> Summary:
        """Play a split's tasks with a policy (None: the untrained backbone); write episodes and a summary.

        ``per_task`` is the recipe's where it is None.
        """
        label, folder = self._label(policy), self._evaluation(split, policy)
        tasks = self._tasks(split, per_task or self.recipe.evaluation.per_task)
        facts = self._facts(split)
        inputs = {**self._playing(policy, split), "generation": self.recipe.generation.model_dump(mode="json")}
        self._enter(folder, inputs)
        jobs = [Job(task, self.recipe.seed) for task in tasks]
        file = folder / EPISODES_FILE
        played = self._player.play(jobs, policy, f"{label} on {split}", file, facts, self.recipe.generation, watcher)
        zero = self.recipe.evaluation.failed_as_zero
        summary = summarize([_as_zero(e) if zero and e.error else e for e in played], seed=self.recipe.seed)
        found = {**facts, "policy": str(inputs["policy"])}
        write_summary(folder / SUMMARY_FILE, summary, found, _value_correlations(policy))
        if policy is not None and self.recipe.api is None:
            self._describe(policy, found["policy"])
        return summary

    def evaluated(self, split: str) -> list[Episode]:
        """The episodes of the latest policy's evaluation. Raises DataError where some are missing."""
        file = self._evaluation(split, self.policy_folder) / EPISODES_FILE
        jobs = [Job(task, self.recipe.seed) for task in self._tasks(split, self.recipe.evaluation.per_task)]
        found, missing = _wanted_of(read_episodes(file), jobs)
        if missing:
            raise DataError(str(file), f"{len(missing)} of {len(jobs)} episodes are missing", "run `step-hrl eval`")
        return found

    def training_seconds(self) -> float:
        """How long both stages have trained."""
        stages = [self.folder.policy(number).parent for number in range(self.recipe.collection.rounds + 1)]
        return sum(map(seconds, stages))

    def spent_seconds(self) -> float:
        """How long the recipe's stages have worked, but for the demonstrations."""
        collected = [self.folder.collected(number + 1).parent for number in range(self.recipe.collection.rounds)]
        policies = {self.folder.policy(0), self.policy_folder}
        scored = [self._evaluation(split, policy) for split in self.recipe.evaluation.splits for policy in policies]
        return self.training_seconds() + sum(map(seconds, [*collected, *scored]))

    @property
    def finished(self) -> bool:
        """Whether the latest policy has been scored on all of the recipe's splits."""
        scored = (self._evaluation(split, self.policy_folder) for split in self.recipe.evaluation.splits)
        return all((folder / SUMMARY_FILE).is_file() for folder in scored)

    def playing_seconds(self, split: str) -> float:
        """How long the latest policy's evaluation has taken."""
        return seconds(self._evaluation(split, self.policy_folder))

    def stored_episode(self, file: Path, key: str | None) -> Episode:
        """An episode of a file: the first, or the first of a task such as ``boil:14``. Raises DataError."""
        stored = read_episodes(file)
        chosen = next((e for e in stored if key is None or e.task.key == key), None)
        if chosen is None:
            known = [episode.task.key for episode in stored]
            raise DataError(str(file), f"no episode of {key or 'any task'}", did_you_mean(key or "", known))
        return chosen

    def show(self, key: str | None, split: str | None) -> Episode:
        """Have the expert play one task."""
        return self._player.show(self._task(key, split))

    def watch(self, key: str | None, split: str | None, policy: Path, watcher: Watcher, person: Person) -> None:
        """Play one task while somebody looks on; nothing is written.

        The policy speaks for the roles that the person does not take; it need not exist where that leaves none.
        """
        task = self._task(key, split)
        if replies_for(self.recipe.agent).keys() <= person.replies.keys():
            self._player.watch(task, None, watcher, person)
            return
        self._policy_digest(policy)
        self._player.watch(task, policy, watcher, person)

    def _enter(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        """Make a stage's folder ready for its inputs, and leave word of the recipe that it is made from."""
        manifest.enter_stage(folder, inputs, self._console)
        write_if_changed(self.folder.recipe, to_yaml(self.recipe))

    def _is_there(self, policy: Path, stage: str) -> bool:
        """Whether a stage has left its policy already, which is then said; the card is brought up to date."""
        if policy.is_dir():
            self._console.print(f"{stage}: {policy} is already there", markup=False)
            self._describe(policy)
            return True
        return False

    def _note(
        self,
        folder: Path,
        stage: int,
        expert: Sequence[Episode],
        collected: Sequence[Episode],
        train: Sequence[Transition],
        validation: Sequence[Transition],
    ) -> None:
        """Write down what a policy is about to be trained on; its card is made from it."""
        versions = {"step_hrl": version("step-hrl"), **self.world.provenance(self.recipe.demonstrations.split)}
        training = model_card_files.training_of(self.recipe, stage, expert, collected, train, validation, versions)
        model_card_files.note(folder, training)

    def _describe(self, policy: Path, digest: str | None = None) -> None:
        """Write or refresh the card of a policy of this run; checkpoints and policies from elsewhere have none here."""
        if self.folder.holds(policy):
            model_card_files.describe(policy, digest or self._policy_digest(policy), self.folder.evaluations)

    def _check_trackers(self) -> None:
        """Refuse what neither stage could report to, before hours of the first are spent."""
        for stage in (self.recipe.behavior_cloning, self.recipe.offline_rl):
            trackers.chosen(stage.trackers if stage is not None else ())

    def _task(self, key: str | None, split: str | None) -> Task:
        tasks = self._tasks(split or self.recipe.evaluation.splits[0], None)
        chosen = next((task for task in tasks if key is None or key in (task.key, task.name)), None)
        if chosen is None:
            raise WorldError(f"task {key!r}", "not in this split", did_you_mean(key or "", [t.key for t in tasks]))
        return chosen

    @property
    def _reads(self) -> dict[str, Any]:
        """What decides which prompts an agent is trained on."""
        acting = {"unreadable_action", "complete_on_invalid_action", "instructions"}
        return self.recipe.agent.model_dump(mode="json", exclude=acting)

    def _split(
        self, episodes: Sequence[Episode], fraction: float, verifier: SubtaskVerifier = trust_policy
    ) -> tuple[list[Transition], list[Transition]]:
        """Training and held-out transitions; whole episodes are held out, spread evenly, at least one of many."""
        every = max(2, round(1 / fraction)) if fraction > 0 else 0
        train: list[Transition] = []
        validation: list[Transition] = []
        for number, episode in enumerate(episodes):
            chosen = validation if every and number % every == every - 1 else train
            chosen.extend(self._player.agent.transitions(episode, verifier))
        return train, validation

    def _transitions(self) -> list[Transition]:
        return [
            t for episode in self.load_demonstrations() for t in self._player.agent.transitions(episode, trust_policy)
        ]

    def _policy_digest(self, policy: Path | None) -> str:
        if self.recipe.api is not None:
            return f"api:{self.recipe.api.model} at {self.recipe.api.base_url}"
        if policy is None:
            return "untrained:" + manifest.digest(self.recipe.backbone.model_dump_json().encode())
        weights = sorted(policy.glob("*.safetensors"))
        if not weights:
            raise DataError(str(policy), "no policy there (no *.safetensors)", "run `step-hrl train bc` first")
        return f"{policy.name}:" + manifest.digest(*(manifest.digest_file(file).encode() for file in weights))

    def _playing(self, policy: Path | None, split: str) -> dict[str, Any]:
        """What decides how a policy plays, but for how its words are drawn."""
        return {
            "world": _identity(self.recipe.world),
            "max_episode_steps": self.recipe.world.max_episode_steps,
            "versions": self.world.provenance(split),
            "policy": self._policy_digest(policy),
            "agent": self.recipe.agent.model_dump(mode="json"),
            "seed": self.recipe.seed,
        }

    def _evaluation(self, split: str, policy: Path | None) -> Path:
        """Where a policy's evaluation on a split is kept."""
        return self.folder.evaluation(self._label(policy), split)

    def _label(self, policy: Path | None) -> str:
        """A policy's name among the recipe's evaluations, such as ``offline_rl-round-1``."""
        if self.recipe.api is not None:
            return "api"
        if policy is None:
            return "untrained"
        return self.folder.label(policy)

    def _facts(self, split: str) -> dict[str, str]:
        return {
            "recipe": self.recipe.name,
            "split": split,
            "seed": str(self.recipe.seed),
            "max_episode_steps": str(self.recipe.world.max_episode_steps),
            "step_hrl": version("step-hrl"),
            **self.world.provenance(split),
        }

    def _tasks(self, split: str, per_task: int | None) -> list[Task]:
        return self.world.tasks(split, self.recipe.world.tasks, per_task)

    def _collection_jobs(self, number: int) -> list[Job]:
        config = self.recipe.collection
        return collection_jobs(self._tasks(config.split, config.per_task), config, self.recipe.seed, number)


def _identity(world: WorldConfig) -> dict[str, Any]:
    """What decides how a world behaves, not how many of it run."""
    return {"name": world.name, "options": dict(world.options)}


def _decisive(config: TrainingConfig) -> dict[str, Any]:
    """A stage's settings as its manifest has them: where its metrics also go decides nothing."""
    return {**config.model_dump(mode="json"), "trackers": []}


def _wanted_of(stored: Sequence[Episode], jobs: Sequence[Job]) -> tuple[list[Episode], list[str]]:
    """The jobs' episodes in the jobs' order, whatever else is stored, and the ids of those that are not."""
    by_id = {episode.id: episode for episode in stored}
    found = [by_id[job.id] for job in jobs if job.id in by_id]
    return found, [job.id for job in jobs if job.id not in by_id]


def _as_zero(episode: Episode) -> Episode:
    return replace(episode, score=0.0)


def _tokenizer_digest(policy: Path) -> str:
    file = policy / "tokenizer.json"
    if not file.is_file():
        raise DataError(str(policy), "no policy there (no tokenizer.json)", "train the stage before")
    return manifest.digest_file(file)


def _value_correlations(policy: Path | None) -> dict[str, float] | None:
    """What stage 2 found out about its critics, if the policy is of stage 2."""
    file = policy.with_name(VALUES_FILE) if policy is not None else None
    return json.loads(file.read_text()) if file is not None and file.is_file() else None
