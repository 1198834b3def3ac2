"""Count in which receptacle types objects lie in ALFWorld's train games, for the expert's search order.

    python experiments/alfworld_places.py > src/step_hrl/experts/alfworld/places.json

For each object type, receptacle types are sorted by objects found per action that looking there takes (going there, and
opening what is closed). If places are independent, this order finds an object in the fewest actions.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

from step_hrl.envs.alfworld_games import data_folder, find_games

MIN_COUNT = 3
"""Receptacle types with fewer objects in all games are left out."""


def main() -> None:
    located: dict[str, Counter[str]] = defaultdict(Counter)
    actions: Counter[str] = Counter()
    for files in find_games(data_folder(), "train").files.values():
        for file in files:
            problem = json.loads(file.read_text(encoding="utf-8"))["pddl_problem"]
            types = dict(re.findall(r"\(receptacleType (\S+) (\w+)Type\)", problem))
            objects = dict(re.findall(r"\(objectType (\S+) (\w+)Type\)", problem))
            closed = set(re.findall(r"\(openable (\S+)\)", problem)) - set(re.findall(r"\(opened (\S+)\)", problem))
            for receptacle, kind in types.items():
                actions[kind] += 1 + (receptacle in closed)
            for thing, receptacle in re.findall(r"\(inReceptacle (\S+) (\S+)\)", problem):
                if thing in objects and receptacle in types:
                    located[objects[thing]][types[receptacle]] += 1
    table = {
        thing.lower(): [
            kind.lower()
            for kind in sorted(counts, key=lambda kind: (-counts[kind] / actions[kind], kind))
            if counts[kind] >= MIN_COUNT
        ]
        for thing, counts in sorted(located.items())
    }
    rows = ",\n".join(f" {json.dumps(thing)}: {json.dumps(kinds)}" for thing, kinds in table.items())
    print(f"{{\n{rows}\n}}")


if __name__ == "__main__":
    main()
