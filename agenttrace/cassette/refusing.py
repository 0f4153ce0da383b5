"""
What a replay says where it has nothing to give: what was asked, what is nearest, how the two differ.

Invariant: each message names the agent's path and the call, and what to do next.
"""

from __future__ import annotations

import difflib

from agenttrace.cassette.cassette import render_arguments, render_call
from agenttrace.cassette.likeness import canonical, describe_differences
from agenttrace.cassette.recorded import Missing, RecordedCall, RecordedModelTurn
from agenttrace.cassette.siblings import Ask, Live, Siblings
from agenttrace.errors import ReplayError

__all__ = ["refuse_gap", "refuse_missing", "refuse_unrecorded"]

_COMPARED_CHARACTERS = 2_000
_LISTED_LIMIT_COUNT = 20


def refuse_unrecorded(siblings: Siblings, live: Live, ask: Ask) -> ReplayError:
    """Say that something was never recorded, with the nearest that was."""
    asked = _title(ask)
    where = "/".join(live.path)
    lines = [f"{where} asks for {asked}, which was never recorded there."]
    near = siblings.nearest(live, ask, _measure)
    if near is None:
        kind = "call of a tool" if ask.family == "call" else "turn of a model"
        lines.append(f"No {kind} is recorded at all.")
    else:
        lines += _describe_nearest(siblings, live, ask, near)
    lines.append('mode="fill" runs what was not recorded.')
    return ReplayError("\n".join(lines))


def _title(ask: Ask) -> str:
    if ask.family == "call":
        return f"{ask.name}({render_arguments(ask.value)})"
    return f"a turn of {ask.name}"


def _measure(one: RecordedCall | RecordedModelTurn, ask: Ask) -> float:
    value, name = (one.arguments, one.tool) if isinstance(one, RecordedCall) else (one.input, one.model)
    near = difflib.SequenceMatcher(None, name, ask.name).ratio()
    texts = (canonical(value)[-_COMPARED_CHARACTERS:], ask.key[-_COMPARED_CHARACTERS:])
    return near + difflib.SequenceMatcher(None, *texts).quick_ratio()


def _describe_nearest(
    siblings: Siblings, live: Live, ask: Ask, near: RecordedCall | RecordedModelTurn
) -> list[str]:
    run = next(run for run in siblings.runs if any(one is near for one in [*run.calls, *run.turns]))
    place = "" if run.path == list(live.path) else f" in {run.title}"
    if isinstance(near, RecordedCall):
        lines = [f"Nearest recorded{place}: {render_call(near)}."]
        differences = describe_differences(near.arguments, ask.value)
    else:
        lines = [f"Nearest recorded{place}: a turn of {near.model}."]
        differences = describe_differences(near.input, ask.value)
    if not differences and not place and near.__class__ is RecordedCall and ask.name == near.tool:
        count = sum(1 for one in run.calls if one.tool == near.tool and one.arguments == near.arguments)
        lines.append(f"  It was recorded {_times(count)}, and is asked for once more.")
    lines += [f"  {line}" for line in differences]
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def refuse_gap(live: Live, title: str, reason: str) -> ReplayError:
    """Say that something recorded cannot be given back."""
    return ReplayError(f"{'/'.join(live.path)}: {title} cannot be given back: {reason}.")


def refuse_missing(missing: list[Missing]) -> ReplayError:
    """Say before anything runs what was not kept."""
    listed = [f"  {one}" for one in missing[:_LISTED_LIMIT_COUNT]]
    if len(missing) > _LISTED_LIMIT_COUNT:
        listed.append(f"  and {len(missing) - _LISTED_LIMIT_COUNT} more")
    return ReplayError(
        "\n".join(
            [
                "not everything that this replay would have to give back was kept:",
                *listed,
                'mode="fill" runs these for real; or save the cassette with `Cassette.save`,',
                "put the values in, and replay the file.",
            ]
        )
    )
