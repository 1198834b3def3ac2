"""Episodes round-trip through files exactly, and a kill at any moment loses at most the one being written."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_hrl.data import episode_files
from step_hrl.data.codec import from_json, to_json
from step_hrl.data.episode_files import EpisodeWriter, TornLineWarning, encode_line, read_episodes
from step_hrl.errors import DataError
from step_hrl.runs import files
from step_hrl.runs.files import write_atomically, written_whole
from step_hrl.types import (
    SCHEMA_VERSION,
    Act,
    Episode,
    Observation,
    Outcome,
    Role,
    Segment,
    Step,
    Task,
    Transition,
    Usage,
    Utterance,
)

texts = st.text(max_size=20)
rewards = st.floats(-1, 1)
scores = st.floats(0, 1)
counts = st.integers(0, 10**6)
usages = st.builds(Usage, counts, counts, counts)
observations = st.builds(Observation, texts, st.none() | texts, st.none() | texts)
tasks = st.builds(Task, texts, texts, counts, texts, texts)
steps = st.builds(
    Step,
    observation=observations,
    local_progress=texts,
    action=texts,
    subtask_done=st.booleans(),
    reward=rewards,
    next_observation=observations,
    next_local_progress=st.none() | texts,
    is_valid_action=st.booleans(),
    terminated=st.booleans(),
    truncated=st.booleans(),
    unreadable=st.none() | texts,
    progress_unreadable=st.none() | texts,
    usages=st.dictionaries(st.sampled_from(Role), usages),
)
segments = st.builds(
    Segment,
    subtask=texts,
    completed_subtasks=st.lists(texts, max_size=2).map(tuple),
    previous_final_progress=texts,
    first_observation=observations,
    steps=st.lists(steps, max_size=3).map(tuple),
    ended_by=st.sampled_from(["policy", "episode", "limit", "unreadable"]),
    unreadable=st.none() | texts,
    usage=usages,
)
episodes = st.builds(
    Episode,
    id=texts,
    task=tasks,
    segments=st.lists(segments, max_size=2).map(tuple),
    score=scores,
    success=st.booleans(),
    seed=counts,
    provenance=st.dictionaries(texts, texts, max_size=2),
    error=st.none() | texts,
)

NASTY = 'a\nb\r\u2028"\\\x00\x1f\x7f\ud800 \U0001f600 é'


def an_episode(number: int, *, steps: int = 2, look: str = NASTY) -> Episode:
    seen = [Observation(f"text {t}", look, None if t % 2 else "") for t in range(steps + 1)]
    taken = tuple(
        Step(seen[t], f"p{t}", f"go {t}", False, 0.1, seen[t + 1], None, usages={Role.LOW: Usage(5, 1, 2)})
        for t in range(steps)
    )
    segment = Segment("find the key", (), "None", seen[0], taken, "episode", usage=Usage(3))
    task = Task("pantry", "fetch", number, "train", NASTY)
    return Episode(task.key, task, (segment,), 0.1 + 0.2, False, provenance={"agent": "expert"})


def write(path: Path, *numbers: int) -> None:
    with EpisodeWriter(path) as writer:
        for number in numbers:
            writer.write(an_episode(number))


@settings(max_examples=60, deadline=None)
@given(episode=episodes)
def test_any_episode_round_trips_exactly(tmp_path_factory: pytest.TempPathFactory, episode: Episode) -> None:
    path = tmp_path_factory.mktemp("episodes") / "e.jsonl"
    path.write_bytes(encode_line(episode))
    assert read_episodes(path) == [episode]


def test_written_episodes_are_read_in_order_with_every_character(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "e.jsonl"
    write(path, 1, 2)
    write(path, 3)
    assert read_episodes(path) == [an_episode(1), an_episode(2), an_episode(3)]
    assert path.read_bytes().count(b"\n") == 3


def test_a_repeated_text_is_kept_once_on_disk_and_in_memory(tmp_path: Path) -> None:
    look = "a wide hall " * 20
    line = encode_line(an_episode(1, steps=10, look=look))
    assert line.count(look.encode()) == 1
    path = tmp_path / "e.jsonl"
    path.write_bytes(line)
    (episode,) = read_episodes(path)
    for before, after in zip(episode.steps, episode.steps[1:], strict=False):
        assert before.next_observation is after.observation


@pytest.mark.parametrize(
    "value",
    [
        Task("pantry", "fetch", 1, "dev"),
        Utterance(NASTY, Usage(1, 2, 3)),
        Act(None),
        Act("go north"),
        Outcome(Observation("o", look="l"), -0.5, True, False, True),
        an_episode(1).segments[0],
        an_episode(1).steps[0],
        Transition(Role.LOW, "s", "u", 1.0, None, True, 1, "e", "fetch:1"),
        Transition(Role.HIGH, "s", "u", 1.0, "n", False, 4, "e", "fetch:1"),
    ],
)
def test_every_core_type_round_trips_through_plain_json(value: object) -> None:
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"text": "t", "smell": "s"}, r"Observation: unknown \['smell'\]"),
        ({"look": "l"}, r"Observation: missing \['text'\]"),
        ({"text": 3}, r"Observation\.text: value: expected str, got 3"),
        ([], "Observation: expected an object"),
    ],
)
def test_json_of_the_wrong_shape_is_refused_by_name(data: object, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        from_json(Observation, data)


def test_an_unknown_choice_lists_the_known_ones() -> None:
    fields = to_json(Transition(Role.LOW, "s", "u", 1.0, None, True, 1, "e", "fetch:1"))
    with pytest.raises(DataError, match=r"Transition\.role: choice: expected one of high, low, progress, got 'middle'"):
        from_json(Transition, {**fields, "role": "middle"})


def test_a_line_is_plain_json_for_other_tools() -> None:
    record = json.loads(encode_line(an_episode(4)))
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["episode"]["task"]["variation"] == 4
    assert record["texts"][record["episode"]["segments"][0]["steps"][1]["observation"][0]] == "text 1"


def test_a_missing_file_is_an_error_to_readers_and_an_empty_start_to_a_writer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such episode file"):
        read_episodes(tmp_path / "none.jsonl")
    with EpisodeWriter(tmp_path / "none.jsonl") as writer:
        assert writer.done == set()


@pytest.mark.parametrize("cut", [1, 2, 40, 400])
def test_a_torn_last_line_is_skipped_by_readers_and_set_aside_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "e.jsonl"
    write(path, 1, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with pytest.warns(TornLineWarning, match="line 2"):
        assert read_episodes(path) == [an_episode(1)]
    assert path.read_bytes() == whole[:-cut], "a reader must not change a file that another process may be writing"

    writer = EpisodeWriter(path)
    with pytest.warns(TornLineWarning, match="set aside"):
        writer.__enter__()
    assert writer.done == {an_episode(1).id}
    assert writer.torn == tmp_path / "e.jsonl.torn"
    writer.write(an_episode(2))
    writer.__exit__(None, None, None)
    second = whole.splitlines(keepends=True)[1]
    assert (tmp_path / "e.jsonl.torn").read_bytes() == second[:-cut].rstrip(b"\n") + b"\n"
    assert path.read_bytes() == whole


def test_a_last_line_of_zeros_after_a_power_cut_counts_as_torn(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write(path, 1)
    with path.open("ab") as stream:
        stream.write(b"\x00" * 500 + b"\n")
    with pytest.warns(TornLineWarning, match="not an episode"):
        assert len(read_episodes(path)) == 1


@pytest.mark.parametrize(
    "damage", [lambda line: line.replace(b"go 1", b"go 9"), lambda line: b"\n", lambda line: b"{}\n"]
)
def test_damage_elsewhere_names_file_line_and_remedy(tmp_path: Path, damage) -> None:
    path = tmp_path / "e.jsonl"
    write(path, 1, 2, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage(lines[1]) + lines[2])
    for read in (read_episodes, lambda damaged: EpisodeWriter(damaged).__enter__()):
        with pytest.raises(DataError, match=r"e\.jsonl: line 2: .*delete line 2"):
            read(path)


def test_a_line_of_a_newer_version_is_not_taken_for_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write(path, 1)
    with path.open("ab") as stream:
        stream.write(b'{"schema_version":3,"anything":true}\n')
    with pytest.raises(DataError, match=r"line 2: schema_version 3.*reads 1 to 2"):
        read_episodes(path)
    with pytest.raises(DataError, match="schema_version 3"), EpisodeWriter(path):
        pass
    assert len(path.read_bytes().splitlines()) == 2


def test_a_checksummed_line_of_the_wrong_shape_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(encode_line(replace(an_episode(1), score="high")))
    with pytest.raises(DataError, match=r"line 1: Episode\.score.*expected float, got 'high'"):
        read_episodes(path)


def test_a_score_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    with EpisodeWriter(path) as writer, pytest.raises(DataError, match="must be finite"):
        writer.write(replace(an_episode(1), score=float("nan")))
    assert path.read_bytes() == b""


def test_an_episode_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write(path, 1)
    with EpisodeWriter(path) as writer, pytest.raises(DataError, match="already there"):
        writer.write(an_episode(1))
    assert len(read_episodes(path)) == 1


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    with EpisodeWriter(path) as writer:
        with pytest.raises(DataError, match="another process is writing"), EpisodeWriter(path):
            pass
        other = in_another_process(f"episode_files.EpisodeWriter(Path({str(path)!r})).__enter__()")
        assert "another process is writing" in other.stderr
        writer.write(an_episode(1))
    write(path, 2)
    assert len(read_episodes(path)) == 2


def test_writing_outside_the_with_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not open"):
        EpisodeWriter(tmp_path / "e.jsonl").write(an_episode(1))


def in_another_process(code: str) -> subprocess.CompletedProcess[str]:
    head = (
        "import os; from pathlib import Path; from step_hrl.data import episode_files; "
        "from tests.data.test_episode_files import an_episode\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", head + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_work_resumes_after_a_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    killed = in_another_process(
        f"writer = episode_files.EpisodeWriter(Path({str(path)!r})).__enter__()\n"
        "writer.write(an_episode(1))\n"
        "episode_files.write_all = lambda descriptor, content: (os.write(descriptor, content[:50]), os._exit(9))\n"
        "writer.write(an_episode(2))\n"
    )
    assert killed.returncode == 9
    with pytest.warns(TornLineWarning):
        write(path)
    with EpisodeWriter(path) as writer:
        for number in (1, 2, 3):
            if an_episode(number).id not in writer.done:
                writer.write(an_episode(number))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_episodes(path) == [an_episode(1), an_episode(2), an_episode(3)]


def test_a_full_disk_leaves_no_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EpisodeWriter(path) as writer:
        writer.write(an_episode(1))
        before = path.read_bytes()
        # The kernel accepts only part of the next line and refuses the rest.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            with pytest.raises(DataError, match="nothing was written; free some space") as caught:
                writer.write(an_episode(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before
        writer.write(an_episode(2))
    assert len(read_episodes(path)) == 2


def test_a_failed_sync_removes_the_line_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "e.jsonl"
    with EpisodeWriter(path) as writer:
        monkeypatch.setattr(episode_files.os, "fsync", full)
        with pytest.raises(DataError, match="No space left on device"):
            writer.write(an_episode(1))
        assert path.read_bytes() == b""
        assert writer.done == set()


@pytest.mark.parametrize(("content", "raw"), [("é\n", "é\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_write_atomically_replaces_the_whole_file(tmp_path: Path, content: str | bytes, raw: bytes) -> None:
    path = tmp_path / "sub" / "summary.json"
    write_atomically(path, "old and much longer")
    write_atomically(path, content)
    assert path.read_bytes() == raw
    assert [entry.name for entry in path.parent.iterdir()] == ["summary.json"]


def test_write_atomically_keeps_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "summary.json"
    write_atomically(path, "old")
    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(DataError, match=r"summary\.json: No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_every_version_are_read(version: int) -> None:
    """The golden files never change: whoever raises the version keeps a reader for them and adds a file."""
    (episode,) = read_episodes(GOLDEN / f"episodes-v{version}.jsonl")
    assert episode.id == "scienceworld/train/lifespan-shortest-lived:17/seed0.0"
    assert (episode.score, episode.success, episode.schema_version) == (1.0, True, SCHEMA_VERSION)
    (segment,) = episode.segments
    (step,) = segment.steps
    assert (segment.subtask, step.action, step.subtask_done) == ("focus on the baby ant", "focus on baby ant", True)
    assert (step.is_valid_action, step.is_noise) == (True, False)
    assert step.next_observation.full_text == step.next_observation.text == "You focus on the baby ant."


def test_the_golden_files_hold_the_same_episode() -> None:
    (first,), (second,) = (read_episodes(GOLDEN / f"episodes-v{version}.jsonl") for version in (1, 2))
    assert replace(first, provenance={}) == replace(second, provenance={})


def test_the_newest_golden_file_is_what_is_written_today() -> None:
    golden = GOLDEN / f"episodes-v{SCHEMA_VERSION}.jsonl"
    (episode,) = read_episodes(golden)
    assert encode_line(episode) == golden.read_bytes()


def test_a_file_may_mix_versions_and_is_continued_in_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes((GOLDEN / "episodes-v1.jsonl").read_bytes())
    write(path, 1)
    versions = [json.loads(line)["schema_version"] for line in path.read_text().splitlines()]
    assert versions == [1, SCHEMA_VERSION]
    old, new = read_episodes(path)
    assert old == read_episodes(GOLDEN / "episodes-v1.jsonl")[0]
    assert new == an_episode(1)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    with written_whole(folder) as scratch:
        (scratch / "old").write_text("old")

    def write_half() -> None:
        with written_whole(folder) as scratch:
            (scratch / "new").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoint-1", "old"]
