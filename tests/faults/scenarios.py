"""Small runs of every sort, and what may befall each."""

from __future__ import annotations

import signal

from tests.faults import kinds
from tests.faults.endpoint import Conduct
from tests.faults.fault_harness import KEY, Course

WORLD = "multiprocessing-fork"
"""In the command of a process that runs worlds."""
SIMULATOR = "scienceworld.jar"
"""In the command of a JVM that simulates."""
_PANTRY = """\
name: small
world:
  name: pantry
  tasks: [put-one, clean-then-put]
  max_episode_steps: 8
  workers: 2
  simulators_per_worker: 2
  step_timeout_seconds: 10
demonstrations: {per_task: 10, action_noise: 0.1, max_episode_steps: 30}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 512}}
behavior_cloning: {epochs: 1, tokens_per_batch: 1024, checkpoint_every: 10, log_every: 2, trackers: []}
collection: {per_task: 4}
offline_rl: {epochs: 1, critic_warmup: 2, checkpoint_every: 5, log_every: 2, tokens_per_batch: 1024, trackers: []}
generation: {max_new_tokens: {high: 6, low: 8, progress: 8}}
evaluation: {splits: [seen], per_task: 4, concurrent: 4}
"""
_TWO_PROCESSES = """\
name: small
world: {name: pantry, tasks: [put-one, clean-then-put], max_episode_steps: 4, workers: 1}
demonstrations: {per_task: 20, max_episode_steps: 30}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 512}}
behavior_cloning:
  {epochs: 1.5, tokens_per_batch: 512, checkpoint_every: 10, log_every: 2, trackers: [], processes: 2}
generation: {max_new_tokens: {high: 4, low: 4, progress: 4}}
evaluation: {splits: [seen], per_task: 2}
"""
# Trained for long enough to act: what never moves would not notice a simulator that began otherwise.
_SCIENCEWORLD = """\
name: small
world:
  name: scienceworld
  tasks: [find-non-living-thing, lifespan-longest-lived]
  max_episode_steps: 6
  workers: 2
  simulators_per_worker: 2
  step_timeout_seconds: 10
demonstrations: {per_task: 12, action_noise: 0.1, max_episode_steps: 30}
backbone: {tiny: {width: 32, layers: 1, heads: 2, vocabulary: 500, context: 2048}}
behavior_cloning:
  epochs: 4
  optimizer: muon
  learning_rate: 0.01
  tokens_per_batch: 1024
  max_tokens_per_sample: 2048
  checkpoint_every: 10
  log_every: 2
  trackers: []
generation: {max_new_tokens: {high: 12, low: 20, progress: 20}}
evaluation: {splits: [dev], per_task: 4}
"""
_SERVED = f"""\
name: small
agent: {{{{kind: react}}}}
api:
  base_url: http://127.0.0.1:{{port}}/v1
  model: small
  key_variable: {KEY}
  concurrent: 4
  retries: 1
  timeout_seconds: 2
world: {{{{name: pantry, tasks: [put-one, clean-then-put], max_episode_steps: 10, workers: 1}}}}
evaluation: {{{{splits: [seen], per_task: 20, concurrent: 4}}}}
"""

COURSES = {
    "both stages, pantry": Course(
        _PANTRY,
        {
            "kill -9": kinds.kill_main,
            "SIGINT": kinds.ask_to_stop(signal.SIGINT),
            "SIGTERM": kinds.ask_to_stop(signal.SIGTERM),
            "SIGINT twice": kinds.insist,
            "world killed": kinds.kill_child(WORLD),
            "world hangs": kinds.hang_child(WORLD),
            "full disk": kinds.fill_disk,
            "blocked folder": kinds.block_folder,
            "torn line": kinds.tear_line,
            "clock jumps": kinds.jumping_clock,
        },
    ),
    "two training processes": Course(
        _TWO_PROCESSES,
        {
            "training process killed": kinds.kill_child("step_hrl.training.worker", 2),
            "kill -9": kinds.kill_main,
            "SIGTERM": kinds.ask_to_stop(signal.SIGTERM),
        },
    ),
    "ScienceWorld": Course(
        _SCIENCEWORLD,
        {
            "JVM killed": kinds.kill_child(SIMULATOR),
            "JVM hangs": kinds.hang_child(SIMULATOR),
            "world killed": kinds.kill_child(WORLD),
            "kill -9": kinds.kill_main,
            "SIGINT": kinds.ask_to_stop(signal.SIGINT),
        },
    ),
    "a model behind an interface": Course(
        _SERVED,
        {
            "server killed": kinds.kill_endpoint,
            "server hangs": kinds.hang_endpoint,
            "server fails": kinds.endpoint_behaves(Conduct.FAILS, 2),
            "server lies": kinds.endpoint_behaves(Conduct.LIES, 2),
            "server slow": kinds.endpoint_behaves(Conduct.SLOW),
            "kill -9": kinds.kill_main,
        },
        served=True,
    ),
}
