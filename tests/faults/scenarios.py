"""Small runs of each sort, and the faults that are injected into each."""

from __future__ import annotations

import signal

from tests.faults import fault_types
from tests.faults.endpoint import Behavior
from tests.faults.fault_harness import KEY, Scenario

WORKER = "multiprocessing-fork"
"""In the command line of a process that runs environments."""
SIMULATOR = "scienceworld.jar"
"""In the command line of a ScienceWorld JVM."""
# Replies are generated in float32: which prompts share a batch varies between runs, and in bfloat16, the default where
# the hardware supports it, rounding then often changes a reply.
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
generation: {mixed_precision: "no", max_new_tokens: {high: 6, low: 8, progress: 8}}
evaluation: {splits: [seen], per_task: 4, concurrent: 4}
"""
_TWO_PROCESSES = """\
name: small
world: {name: pantry, tasks: [put-one, clean-then-put], max_episode_steps: 4, workers: 1}
demonstrations: {per_task: 20, max_episode_steps: 30}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 512}}
behavior_cloning:
  {epochs: 1.5, tokens_per_batch: 512, checkpoint_every: 10, log_every: 2, trackers: [], processes: 2}
generation: {mixed_precision: "no", max_new_tokens: {high: 4, low: 4, progress: 4}}
evaluation: {splits: [seen], per_task: 2}
"""
# Trained for long enough to act: a policy that never moves would not reveal a simulator in the wrong state.
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
  optimizer: {type: muon}
  learning_rate: 0.01
  tokens_per_batch: 1024
  max_tokens_per_sample: 2048
  checkpoint_every: 10
  log_every: 2
  trackers: []
generation: {mixed_precision: "no", max_new_tokens: {high: 12, low: 20, progress: 20}}
evaluation: {splits: [dev], per_task: 4}
"""
_SERVED = f"""\
name: small
agent: {{{{type: react}}}}
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

SCENARIOS = {
    "both stages, pantry": Scenario(
        _PANTRY,
        {
            "kill -9": fault_types.kill_main,
            "SIGINT": fault_types.send_signal(signal.SIGINT),
            "SIGTERM": fault_types.send_signal(signal.SIGTERM),
            "SIGINT twice": fault_types.interrupt_twice,
            "worker killed": fault_types.kill_child(WORKER),
            "worker hangs": fault_types.hang_child(WORKER),
            "full disk": fault_types.fill_disk,
            "blocked folder": fault_types.block_folder,
            "torn line": fault_types.tear_line,
            "clock jumps": fault_types.jumping_clock,
        },
    ),
    "two training processes": Scenario(
        _TWO_PROCESSES,
        {
            "training process killed": fault_types.kill_child("step_hrl.training.worker", 2),
            "kill -9": fault_types.kill_main,
            "SIGTERM": fault_types.send_signal(signal.SIGTERM),
        },
    ),
    "ScienceWorld": Scenario(
        _SCIENCEWORLD,
        {
            "JVM killed": fault_types.kill_child(SIMULATOR),
            "JVM hangs": fault_types.hang_child(SIMULATOR),
            "worker killed": fault_types.kill_child(WORKER),
            "kill -9": fault_types.kill_main,
            "SIGINT": fault_types.send_signal(signal.SIGINT),
        },
    ),
    "model server": Scenario(
        _SERVED,
        {
            "server killed": fault_types.kill_endpoint,
            "server hangs": fault_types.hang_endpoint,
            "server fails": fault_types.endpoint_behaves(Behavior.FAILS, 2),
            "server replies malformed": fault_types.endpoint_behaves(Behavior.MALFORMED, 2),
            "server slow": fault_types.endpoint_behaves(Behavior.SLOW),
            "kill -9": fault_types.kill_main,
        },
        served=True,
    ),
}
