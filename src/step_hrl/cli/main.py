"""The command line. An error prints one line on standard error and exits with code 2; finished work is kept."""

from __future__ import annotations

import errno
import sys
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from step_hrl.data.episode_files import TornLineWarning
from step_hrl.errors import RecipeError, StepHrlError
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs import signals
from step_hrl.runs.files import write_atomically
from step_hrl.runs.layout import RECIPE_FILE, STAGES
from step_hrl.runs.signals import Stopped

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
train_app = typer.Typer(no_args_is_help=True, help="Train a policy.")
app.add_typer(train_app, name="train")

RecipeArgument = Annotated[Path, typer.Argument(help="Recipe file, such as recipes/pantry.yaml.", metavar="RECIPE")]
OptionalRecipeArgument = Annotated[
    Path | None, typer.Argument(help="Recipe file; default: the one in the folder of --policy.", metavar="[RECIPE]")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Override keys of the recipe, such as seed=1.", metavar="KEY=VALUE")
]
RoundOption = Annotated[int, typer.Option("--round", min=1, help="Choose the round of stage 2.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Use this policy's folder instead of the recipe's own.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="STAGE", help=f"Repeat this stage and all later ones: {', '.join(STAGES)}."),
]
AskOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ROLE", help="Answer for a role yourself: high, low or progress; repeatable."),
]
OracleOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE",
        help="Let the expert answer for a role: high, low or progress; repeatable. `each` compares them in one table.",
    ),
]
PauseOption = Annotated[bool, typer.Option("--pause", help="Wait for Enter before each step; q and Enter quits.")]

_STOPPED = "stopped; finished work is kept, run the same command to resume"


def _print_version(wanted: bool) -> None:
    if wanted:
        Console().print(f"step-hrl {version('step-hrl')}", highlight=False)
        raise typer.Exit


@app.callback()
def _describe(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train language-model agents for long tasks whose prompt never grows."""


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None, begin: FromOption = None) -> None:
    """Run all stages of a recipe; resume where it stopped."""
    pipeline = _pipeline(recipe, overrides)
    with signals.handle_stop_signals():
        if begin is not None:
            pipeline.restart_from(begin)
        pipeline.run()


@app.command()
def demos(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Generate demonstrations with the rule-based expert and summarize them."""
    with signals.handle_stop_signals():
        pipeline = _pipeline(recipe, overrides)
        pipeline.do(pipeline.demonstrations)


@train_app.command()
def bc(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Train stage 1: behavior cloning on the demonstrations."""
    with signals.handle_stop_signals():
        pipeline = _pipeline(recipe, overrides)
        folder = pipeline.do(pipeline.behavior_cloning())
    Console().print(f"policy: {folder}", markup=False)


@app.command()
def collect(recipe: RecipeArgument, overrides: Overrides = None, number: RoundOption = 1) -> None:
    """Collect episodes with the current policy for stage 2, failures included."""
    with signals.handle_stop_signals():
        pipeline = _pipeline(recipe, overrides)
        pipeline.do(pipeline.collection(number))


@train_app.command()
def rl(recipe: RecipeArgument, overrides: Overrides = None, number: RoundOption = 1) -> None:
    """Train stage 2: offline RL on demonstrations and collected episodes."""
    with signals.handle_stop_signals():
        pipeline = _pipeline(recipe, overrides)
        folder = pipeline.do(pipeline.offline_rl(number))
    Console().print(f"policy: {folder}", markup=False)


@app.command("eval")
def evaluate(
    recipe: OptionalRecipeArgument = None,
    overrides: Overrides = None,
    policy: PolicyOption = None,
    split: Annotated[str | None, typer.Option(help="Play this split instead of all splits of the recipe.")] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Evaluate the untrained backbone.")] = False,
    oracle: OracleOption = None,
) -> None:
    """Evaluate a policy; write its episodes and a summary of their scores.

    With --oracle, the policy answers for the other roles, which shows which role loses points: `--oracle each`.
    """
    from step_hrl.evaluation import table
    from step_hrl.stages.oracle import oracle_groups, oracle_label

    pipeline = _pipeline_of(recipe, overrides, policy)
    chosen = None if untrained else _policy(pipeline, policy)
    groups = oracle_groups(pipeline.context, oracle or ())
    splits = (split,) if split else pipeline.recipe.evaluation.splits
    with signals.handle_stop_signals():
        summaries = {
            f"{name}, oracle {oracle_label(roles)}" if roles and len(groups) > 1 else name: pipeline.do(
                pipeline.evaluation(name, chosen, oracle=roles)
            )
            for name in splits
            for roles in groups
        }
    Console().print(table(summaries))


@app.command()
def play(
    recipe: OptionalRecipeArgument = None,
    overrides: Overrides = None,
    policy: PolicyOption = None,
    task: Annotated[
        str | None, typer.Option(help="Play this task, such as boil:14; default: the split's first.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Choose the split of the task; default: the recipe's first.")
    ] = None,
    expert: Annotated[bool, typer.Option("--expert", help="Watch the rule-based expert.")] = False,
    episodes: Annotated[Path | None, typer.Option(help="Replay an episode of this file.")] = None,
    ask: AskOption = None,
    pause: PauseOption = False,
) -> None:
    """Play one episode and show its subtasks, actions and progress.

    With --ask, an action alone means `action; False`; `action; True` completes the subtask. q or Ctrl-D quits. No
    policy is needed if you take all roles.
    """
    from step_hrl.agents.registry import named_roles, replies_for
    from step_hrl.cli.viewer import Keyboard, Left, LiveView, replay
    from step_hrl.engines.person import Person
    from step_hrl.stages.demonstrations import show_expert
    from step_hrl.stages.playing import chosen_task, play_one, stored_episode

    if ask and (expert or episodes is not None):
        raise RecipeError("--ask", "has no effect with --expert or --episodes", "remove one of the options")
    pipeline = _pipeline_of(recipe, overrides, policy)
    agent, known = pipeline.recipe.agent, replies_for(pipeline.recipe.agent)
    replies = {role: known[role] for role in named_roles(agent, ask or (), "--ask")}
    with LiveView(Console()) as view:
        keyboard = Keyboard(view)
        before_step = keyboard.wait if pause else lambda: None
        try:
            if episodes is not None:
                replay(stored_episode(episodes, task), view, before_step)
            elif expert:
                replay(show_expert(pipeline.context, chosen_task(pipeline.context, task, split)), view, before_step)
            else:
                person = Person(replies, view.show, keyboard.read, before_step)
                chosen = chosen_task(pipeline.context, task, split)
                play_one(pipeline.context, chosen, _policy(pipeline, policy), view, person)
        except Left:
            view.show("quit before the end")


@app.command()
def compare(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AGENT/SEED",
            help="Run only this cell, such as flat/1, without the table; repeatable.",
        ),
    ] = None,
) -> None:
    """Train and evaluate the recipe's agents over seeds; resume where it stopped.

    Cells may run in parallel with --only; a later call without it writes the table.
    """
    from step_hrl.compare import Comparison

    comparison = Comparison(load_recipe(recipe, overrides or ()), Console())
    with signals.handle_stop_signals():
        if only:
            comparison.run_only(only)
        else:
            comparison.run()


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, such as runs/quickstart.", metavar="RUN...")],
    output: Annotated[
        Path | None, typer.Option(help="Write to this file; default: report.html in the first run's folder.")
    ] = None,
) -> None:
    """Write an HTML report of runs: scores, tokens, learning curves and all episodes."""
    from step_hrl.report.page import build
    from step_hrl.report.runs import read_run

    file = output or runs[0] / "report.html"
    write_atomically(file, build([read_run(folder) for folder in runs]))
    Console().print(f"report: {file}", markup=False, soft_wrap=True)


@app.command()
def doctor() -> None:
    """Check this machine and print how to install what is missing."""
    from step_hrl.cli.doctor import examine

    raise typer.Exit(examine(Console()))


def _pipeline(path: Path, overrides: list[str] | None) -> Pipeline:
    return Pipeline(load_recipe(path, overrides or ()), Console())


def _pipeline_of(recipe: Path | None, overrides: list[str] | None, policy: Path | None) -> Pipeline:
    """The pipeline of a recipe, or of the one that a policy's folder holds."""
    given = list(overrides or ())
    if recipe is not None and policy is not None and "=" in str(recipe) and not recipe.exists():
        recipe, given = None, [str(recipe), *given]  # the first override, where no recipe is given
    if recipe is None and policy is None:
        raise RecipeError("RECIPE", "none given", "name a recipe file, or a policy's folder with --policy")
    return _pipeline(recipe or Path(policy or "") / RECIPE_FILE, given)


def _policy(pipeline: Pipeline, given: Path | None) -> Path:
    """The policy to play: the one given, or the recipe's own."""
    if given is not None and pipeline.recipe.api is not None:
        raise RecipeError("--policy", "the recipe plays the model of its `api:`", "remove one of the two")
    return given or pipeline.policy_folder


def main() -> None:
    """Entry point of ``step-hrl``."""
    warnings.showwarning = _warn
    try:
        app(standalone_mode=True)
    except StepHrlError as error:
        _fail(str(error), 2)
    except Stopped as stopped:
        _fail(_STOPPED, 128 + stopped.signal)
    except KeyboardInterrupt:
        _fail(_STOPPED, 130)
    except OSError as error:
        # Writers of a run's files raise DataError: this is standard output, redirected to a full disk.
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        _fail(f"standard output: {error.strerror}; free some space and run the same command to resume", 2)


def _fail(line: str, code: int) -> None:
    with suppress(OSError):  # standard error may be full too
        Console(stderr=True).print(f"step-hrl: {line}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, TornLineWarning):
        Console(stderr=True).print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)
