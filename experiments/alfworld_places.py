"""In which kinds of furniture things are found: counted on ALFWorld's train games, for the expert's order of search.

    python experiments/alfworld_places.py > src/step_hrl/experts/alfworld/places.json

A kind comes the earlier, the more things of the wanted kind one of it holds for each action that looking there takes
(going there, and opening what is closed): the order that finds a thing soonest where places are independent.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

from step_hrl.envs.alfworld_games import data_folder, find_games

LEAST = 3
"""A kind that held fewer such things in all games is as good as any other."""


def main() -> None:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    actions: Counter[str] = Counter()
    for files in find_games(data_folder(), "train").files.values():
        for file in files:
            problem = json.loads(file.read_text(encoding="utf-8"))["pddl_problem"]
            kinds = dict(re.findall(r"\(receptacleType (\S+) (\w+)Type\)", problem))
            things = dict(re.findall(r"\(objectType (\S+) (\w+)Type\)", problem))
            closed = set(re.findall(r"\(openable (\S+)\)", problem)) - set(re.findall(r"\(opened (\S+)\)", problem))
            for piece, kind in kinds.items():
                actions[kind] += 1 + (piece in closed)
            for thing, piece in re.findall(r"\(inReceptacle (\S+) (\S+)\)", problem):
                if thing in things and piece in kinds:
                    found[things[thing]][kinds[piece]] += 1
    table = {
        thing.lower(): [
            kind.lower()
            for kind in sorted(counts, key=lambda kind: (-counts[kind] / actions[kind], kind))
            if counts[kind] >= LEAST
        ]
        for thing, counts in sorted(found.items())
    }
    rows = ",\n".join(f" {json.dumps(thing)}: {json.dumps(kinds)}" for thing, kinds in table.items())
    print(f"{{\n{rows}\n}}")


if __name__ == "__main__":
    main()
