"""
One message that a model was given, or one answer of an agent, as words.

Pure, and bounded. Invariant: every text and number of the message is in it, in order; keys stand
before their values, those of empty ones are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agenttrace.store.words import is_failure_word, split_words

__all__ = ["Told", "is_instruction", "read_told", "split_results"]

_ITEM_CHARS = 400_000
_PLAIN_TYPES = frozenset(("error", "exception", "returnedfailure"))
_TYPE_ENDINGS = ("error", "exception", "timeout", "warning", "interrupt")
_TOOL_TYPES = frozenset(
    ("tool", "tool_result", "function", "function_call_output", "tool-result", "toolresult")
)
_REQUEST_TYPES = ("function_call", "custom_tool_call", "tool_call", "tool_use")
_CALL_ID_KEYS = ("tool_use_id", "tool_call_id", "call_id")


@dataclass(slots=True)
class Told:
    """One message that a model was given, or one answer of an agent."""

    words: list[str] = field(default_factory=list)
    breaks: set[int] = field(default_factory=set)
    starts: set[int] = field(default_factory=set)
    """Where a string of its own begins."""
    ends: set[int] = field(default_factory=set)
    """After which words a string of its own is over."""
    line_ends: set[int] = field(default_factory=set)
    """After which words a line is over."""
    is_result: bool = False
    """It is what a tool gave back."""
    is_answer: bool = False
    """It is an agent's own output."""
    call_ids: set[str] = field(default_factory=set)
    failed_call_ids: set[str] = field(default_factory=set)
    text: str = ""
    """The words, each between two spaces."""
    chars: int = 0

    def add(self, text: str, *, is_key: bool = False) -> None:
        """Append the words of one string."""
        text = text[: max(0, _ITEM_CHARS - self.chars)]
        self.chars += len(text)
        found = split_words(text)
        if not found.words:
            return
        base = len(self.words)
        self.words.extend(found.words)
        if is_key:
            return
        self.breaks.update(base + at for at in found.breaks)
        self.line_ends.update(base + at for at in found.lines)
        self.starts.add(base)
        self.ends.add(len(self.words) - 1)
        self.line_ends |= {base - 1, len(self.words) - 1}
        self.breaks.add(len(self.words) - 1)

    def speaks_of_failure(self) -> bool:
        """Tell whether a word of failure is anywhere in it."""
        return any(is_failure_word(word) for word in self.words)

    def names(self, error_type: str) -> bool:
        """Tell whether a type stands in it as what went wrong: ``Error: OSError``, ``raised OSError``."""
        if error_type in _PLAIN_TYPES or not error_type.endswith(_TYPE_ENDINGS):
            return False
        for at, word in enumerate(self.words):
            if word == error_type and any(
                is_failure_word(before) for before in self.words[max(0, at - 3) : at]
            ):
                return True
        return False

    def ends_with_failure_word(self) -> bool:
        """Tell whether one of its strings is over where an error's text would begin: ``Error: ``."""
        return any(is_failure_word(self.words[at]) for at in self.ends)


def is_instruction(item: Any) -> bool:
    """Tell a system or developer message, which a program gives to its model whatever happens."""
    return isinstance(item, dict) and item.get("role") in ("system", "developer")


def split_results(item: Any) -> list[Any]:
    """Take the results of several calls in one message apart: what one says tells nothing of the others."""
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(content, list):
        return [item]
    results = [one for one in content if _is_result(one)]
    if len(results) < 2:
        return [item]
    rest = [one for one in content if not _is_result(one)]
    return [*results, {**item, "content": rest}] if rest else results


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_result"


def read_told(item: Any, *, is_answer: bool = False) -> Told:
    """Read one message or answer."""
    told = Told(is_answer=is_answer)
    waiting: list[tuple[Any, bool]] = [(item, False)]
    while waiting and told.chars < _ITEM_CHARS:
        value, is_key = waiting.pop()
        if isinstance(value, str):
            told.add(value, is_key=is_key)
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int | float):
            told.add(str(value))
        elif isinstance(value, list):
            waiting.extend((each, False) for each in reversed(value))
        elif isinstance(value, dict):
            _note_call(value, told)
            for key, each in reversed(value.items()):
                if each is None or isinstance(each, bool) or each in ("", [], {}):
                    continue  # "error": null is no word of failure
                waiting += [(each, False), (key, True)]
    told.text = f" {' '.join(told.words)} "
    return told


def _note_call(message: dict[str, Any], told: Told) -> None:
    if message.get("type") in _REQUEST_TYPES:
        return  # what the model asked for tells it nothing
    named = {message.get(key) for key in _CALL_ID_KEYS}
    ids = {each for each in named if isinstance(each, str) and each}
    kinds = {each for each in (message.get("role"), message.get("type")) if isinstance(each, str)}
    if ids or kinds & _TOOL_TYPES:
        told.is_result = True
    told.call_ids |= ids
    if message.get("is_error") is True or message.get("isError") is True or message.get("status") == "error":
        told.failed_call_ids |= ids
