"""
The text of a test that keeps a recorded fault from coming back.

Invariants: whatever was recorded, the text is Python that does what it seems to: recorded words stand in
it only as literals and in the docstring, where they are harmless; it names no folder of this machine but
from the test's own; and it is as ``ruff format`` would leave it. Pure.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agenttrace.query.text import fit, sanitize
from agenttrace.testing.finding_claims import FAILURES

__all__ = ["CURABLE", "MadeTest", "render_literal", "render_test", "slug"]

CURABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(FAILURES, FAILURES),
    **{kind: (kind,) for kind in ("retry_storm", "loop", "dropped_result", "empty_answer", "model_switched")},
    "truncated": (),
}
"""
Kinds of findings that a change of the program can cure, and what must not be found once it has: a failure
that is no longer swallowed here must not be swallowed further up. An answer that was cut off stays cut off
in a replay, so what is claimed is that it is not passed on.
"""
_EXPLAINED = (
    "The cassette gives back what tools and models gave then: none of them runs, and nothing goes over the "
    "network. The test fails until the program copes with that; once it does, it may go another way than "
    "the recorded one. Where it is right to end with an exception, expect that here."
)
_WIDTH = 88
_TEXT_WIDTH = 100


@dataclass(frozen=True, slots=True)
class MadeTest:
    """What is known of the recorded run, for its test."""

    sentence: str
    """What went wrong."""
    kind: str
    subject: str
    """Name of the tool or agent it happened to."""
    tool: str | None
    """The tool that failed or was asked for; None where it is about an agent."""
    agent: str
    """Path of the agent."""
    step: str | None
    """The tool or model that the program has to ask for before it may go another way; None for any."""
    run: tuple[str, ...]
    """Tools that run themselves, because it happened inside them."""
    command: tuple[str, ...]
    """What was run, as people would write it; () where a function is called."""
    program: tuple[str, ...]
    """Arguments of ``run_program``, the first a path from the test's folder or ``-m``."""
    folder: str
    """The working directory, from the test's folder."""
    call: tuple[str, str] | None
    """Module and function that is called instead of a program."""
    cassette: str
    """Path of the cassette, from the test's folder."""
    recorded: str
    """The day."""
    conversation_id: str
    again: str
    """The command that makes it anew."""
    answer: Any = None
    """What the root agent gave; for ``truncated``."""
    root: str = ""
    needs_python: tuple[int, int] | None = None


def render_test(made: MadeTest) -> str:
    """Write the test."""
    uses_folder = made.call is None
    imports = ["import sys"] if made.needs_python else []
    imports += ["from pathlib import Path"] if uses_folder else []
    third = ["import pytest"] if made.needs_python else []
    third += [f"from {made.call[0]} import {made.call[1]}"] if made.call else []
    names = "Trajectory" + (", run_program" if uses_folder else "")
    third.append(f"from agenttrace.testing import {names}")
    parts = [_docstring(made)]
    if imports:
        parts.append("\n".join(imports))
    parts.append("\n".join(sorted(third, key=_import_key)))
    head = "\n\n".join(parts) + "\n\n"
    if uses_folder:
        head += "HERE = Path(__file__).parent\n\n"
    return f"{head}\n{_function(made)}"


def _import_key(line: str) -> tuple[bool, str]:
    return not line.startswith("import"), line.split()[1]


def _docstring(made: MadeTest) -> str:
    what = sanitize(made.sentence).rstrip(".") + "."
    source = f"`{sanitize(' '.join(made.command))}`" if made.command else "a program"
    paragraphs = [
        fit(what, 400),
        f"Recorded of {fit(source, 200)} on {made.recorded}, conversation {sanitize(made.conversation_id)}. "
        + _EXPLAINED,
        "To make it anew:",
    ]
    text = "\n\n".join(
        textwrap.fill(each, _TEXT_WIDTH, break_on_hyphens=False, break_long_words=False)
        for each in paragraphs
    )
    return f'"""\n{_escape(text)}\n\n    {_escape(sanitize(made.again))}\n"""'


def _escape(text: str) -> str:
    """Let *text* stand in a docstring as it is."""
    lines = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').split("\n")
    return "\n".join(line.rstrip() for line in lines)


def _function(made: MadeTest) -> str:
    lines = []
    if made.needs_python:
        version = f"{made.needs_python[0]}, {made.needs_python[1]}"
        shown = f"{made.needs_python[0]}.{made.needs_python[1]}"
        lines += _call(
            "@pytest.mark.skipif",
            [f"sys.version_info < ({version})", f'reason="seen on Python {shown} and later"'],
            "",
            "",
        )
    lines.append(f"def test_{slug(made.subject)}_{made.kind}(trajectory: Trajectory) -> None:")
    given = [render_literal(made.cassette), 'mode="none"']
    if made.run:
        given.append(f"run=[{', '.join(render_literal(name) for name in made.run)}]")
    given.append(f"may_leave={'True' if made.step is None else render_literal(made.step)}")
    suffix = " as playing:" if made.call else ":"
    lines += _call("with trajectory.replay", given, suffix, "    ")
    if made.call:
        lines.append(f"        playing.call({made.call[1]})")
    else:
        lines += _call("run_program", _program(made), "", "        ")
    return "\n".join([*lines, "", *_claims(made)]) + "\n"


def _program(made: MadeTest) -> list[str]:
    first, *rest = made.program
    shown = [render_literal(first) if first == "-m" else _path(first)]
    shown += [render_literal(each) for each in rest]
    return [*shown, f"folder={_path(made.folder)}"]


def _path(relative: str) -> str:
    return "HERE" if relative in ("", ".") else f"HERE / {render_literal(relative)}"


def _claims(made: MadeTest) -> list[str]:
    kinds = CURABLE[made.kind]
    if not kinds:
        answer = render_literal(made.answer) if isinstance(made.answer, str) else repr(made.answer)
        return [f"    assert trajectory.agent({render_literal(made.root)}, 0).output != {answer}"]
    if made.tool and made.kind in FAILURES:
        kinds = ()  # nothing at all is to be found about it
    scope = f"tool={render_literal(made.tool)}" if made.tool else f"agent={render_literal(made.agent)}"
    return _call("trajectory.assert_no_findings", [*(f'"{kind}"' for kind in kinds), scope], "", "    ")


def _call(head: str, given: Sequence[str], tail: str, indent: str) -> list[str]:
    """Lay a call out as the formatter does: on one line, else its arguments on one, else each on its own."""
    joined = ", ".join(given)
    line = f"{indent}{head}({joined}){tail}"
    if len(line) <= _WIDTH:
        return [line]
    inner = f"{indent}    {joined}"
    body = [inner] if len(inner) <= _WIDTH else [f"{indent}    {each}," for each in given]
    return [f"{indent}{head}(", *body, f"{indent}){tail}"]


def render_literal(text: str | None) -> str:
    """Write a text as a Python literal of one line, in double quotes where that needs no more escapes."""
    shown = repr(text)
    if not isinstance(text, str) or shown[0] == '"':
        return shown
    inner = shown[1:-1].replace("\\'", "'")
    if text.count('"') > text.count("'"):
        return shown
    return '"' + inner.replace('"', '\\"') + '"'


def slug(name: str) -> str:
    """Give a piece of a function's name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].strip("_") or "run"
