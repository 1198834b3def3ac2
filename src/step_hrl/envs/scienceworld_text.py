"""Shorten ScienceWorld's texts without loss of facts: one line for the room, one for the inventory."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

_OMITTED = ("agent", "air", "")
"""Entries in every room on which no decision depends."""

_ROOM = re.compile(r"called the ([^.\n]+)\.")
_DOOR = re.compile(r"A door to the (.+?) \(that is (open|closed)\)")
_ARTICLE = re.compile(r"(^|[\[,] ?)(?:an?|the) ", re.IGNORECASE)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b[aA]n? substance called (?:an? )?", ""),
        (r"\b[aA]n? book \(([^()]*)\) titled .+? by [^,()]+", r"book \1"),
        (r" \((?:that looks )?((?!containing)[^()]*)\)", r" \1"),
        (r"\.? ?its (?:terminal \d|anode|cathode) is connected to: nothing\.?", ""),
        (r"\.? ?its (terminal \d|anode|cathode) is connected to: ([^.:]+)\.?", r" \1 to \2"),
        (r", currently reading a temperature of (-?\d+) degrees celsius", r" \1C"),
        (r", which is (?:turned )?(on|off|open|closed)\b", r" \1"),
        (r", which is deactivated\b", " off"),
        (r", which is activated\b", " on"),
        (r"\. The [^.\[\](),]+ door is (open|closed)\.?", r" \1"),
        (r"\.? ?(?:[Oo]n|[Ii]n) the [^.:\[\]()]+? is: nothing\.?", ""),
        (r" \(containing nothing\)", ""),
    )
)
_CONTENTS = re.compile(
    r"(?P<before>.*)(?: \((?P<held>containing [^():]*)\)"
    r"|[Oo]n the [^.:\[\]()]+? you (?P<grown>see: [^.:()]*)\. ?"
    r"|(?:[Oo]n|[Ii]n) the [^.:\[\]()]+? (?P<placed>is: [^.:()]*)(?:\.|$))"
)
"""The last contents without nested contents, which are therefore innermost."""


@lru_cache(maxsize=16384)
def compact_item(entry: str) -> str:
    """Shorten one entry of a room or an inventory: states as words, contents in square brackets.

    >>> compact_item("a stove, which is turned off. On the stove is: nothing.")
    'stove off'
    >>> compact_item("a table. On the table is: a glass cup (containing a substance called water), a drawer.")
    'table [glass cup [water], drawer]'
    """
    item = entry.strip()
    for pattern, replacement in _REWRITES:
        item = pattern.sub(replacement, item)
    while innermost := _CONTENTS.match(item):
        contents = innermost["held"] or innermost["grown"] or innermost["placed"]
        grouped = _grouped(contents.split(" ", 1)[1])
        item = f"{innermost['before'].rstrip(' .')} [{grouped}]{item[innermost.end() :]}"
    item = _ARTICLE.sub(r"\1", item)
    return re.sub(r"\s+(?=[,\]])", "", re.sub(r"\s+", " ", item)).strip(" .")


def compact_look(look: str) -> str:
    """The room, its things and its doors on one line.

    >>> compact_look("This room is called the hall. In it, you see: \\n\\tthe agent\\n\\ta jug (containing nothing)\\n"
    ...              "You also see:\\n\\tA door to the kitchen (that is closed)")
    'hall: jug | Doors: kitchen closed'
    """
    room = _ROOM.search(look)
    entries = [line.strip() for line in look.splitlines() if line.startswith("\t")]
    doors = [match.groups() for entry in entries if (match := _DOOR.match(entry))]
    things = [compact_item(entry) for entry in entries if not _DOOR.match(entry)]
    visible = ", ".join(_counted([thing for thing in things if thing not in _OMITTED])) or "nothing"
    line = f"{room.group(1) if room else 'somewhere'}: {visible}"
    return f"{line} | Doors: " + ", ".join(f"{room} {state}" for room, state in doors) if doors else line


def compact_inventory(inventory: str) -> str:
    """The things held, separated by commas.

    >>> compact_inventory("In your inventory, you see:\\n\\tan orange\\n\\ta jug (containing a substance called water)")
    'orange, jug [water]'
    """
    entries = [compact_item(line) for line in inventory.splitlines() if line.startswith("\t")]
    return ", ".join(_counted(entries)) or "nothing"


def compact_answer(answer: str) -> str:
    """The answer to an action on one line; a description of the whole room is omitted, because the look contains it.

    >>> compact_answer("You move the jug\\n to the sink.")
    'You move the jug to the sink.'
    """
    if _ROOM.search(answer) and answer.startswith("This "):
        return "You look around."
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    joined = " ".join(compact_item(line) if line.startswith(("a ", "an ", "A ")) else line for line in lines)
    return re.sub(r"\s+", " ", re.sub(r"\ba substance called ", "", joined)).strip()


def compact_instruction(description: str) -> str:
    """The task description on one line, without its heading.

    >>> compact_instruction("Task Description:\\nYour task is to boil water. ")
    'Your task is to boil water.'
    """
    text = re.sub(r"\s+", " ", description.removeprefix("Task Description:")).strip()
    return text.replace("a(n) ", "a ")


def _grouped(contents: str) -> str:
    parts = [_ARTICLE.sub("", part.strip(" .")) for part in _split(contents)]
    return ", ".join(_counted([part for part in parts if part]))


def _split(contents: str) -> list[str]:
    """Split at commas outside brackets."""
    return re.split(r", (?![^\[]*\])", contents)


def _counted(items: list[str]) -> list[str]:
    counted: list[str] = []
    for item, group in groupby(items):
        count = len(list(group))
        counted.append(item if count == 1 else f"{item} x{count}")
    return counted
