"""
A run of any size cut down to an outline: the nodes that matter each in a line, all others counted.

Owns which nodes come first (the first cause, what is around it and above it, other failures, agents,
then the rest in the order of time), and how what is left out is summed up. Invariants: every operation
is either shown or counted in exactly one line; what was recorded stands only behind ``| ``, or as a
name. Cost: one pass over the tree for each length that is tried, some ten; depth costs no stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from agenttrace.query.describe import describe_tokens
from agenttrace.query.loaded_run import LoadedRun
from agenttrace.query.quoting import DATA_MARK, quote_name, quote_text, quote_value
from agenttrace.query.text import pluralize, render_count, render_duration
from agenttrace.query.tokens import estimate_tokens
from agenttrace.query.tree import NodeFailure, TreeNode, parse_payload

__all__ = ["Outline"]

_QUIET_EVENTS = frozenset({"handled", "model_delta", "model_selected", "message", "retry", "snapshot"})
_PLAIN_STATUSES = frozenset(
    {"ok", "error", "cancelled", "stopped_early", "interrupted", "running", "out of contact"}
)
_LINE_TOKENS = 8
"""No line of a node is estimated at less."""
_INDENTS = 10
_GROUPS = 4
_FAILURES = 2
_ABOVE = 3
_BEFORE, _AFTER = 4, 2
_WORDS = {"turn": "turn", "call": "call", "agent": "agent", "event": "event"}


class _Item(NamedTuple):
    """Something that can be shown or not."""

    at: int
    is_result: bool
    """What the node gave back, and not the node itself."""


class Outline:
    """
    The outline of one run.

    Args:
        run: The run.
        cause: The node of the first cause; None without one.
        marked: Nodes of other findings.
        root: Show this node and what is below it; None shows all.
    """

    def __init__(
        self, run: LoadedRun, cause: int | None, marked: Sequence[int] = (), root: int | None = None
    ) -> None:
        self._run = run
        self._nodes = run.nodes
        count = len(run.nodes)
        self._sizes = _measure(run.nodes)
        self._from = 0 if root is None else root
        self._until = count if root is None else root + self._sizes[root]
        self._cause = cause
        self._marked = marked
        self._kinds: list[tuple[str, str, str]] = []
        self._kind_of: list[int] = []
        """Of each distinct operation, its kind."""
        self._same = self._name_equals()
        self._failed = [0] * (count + 1)
        for at, node in enumerate(run.nodes):
            self._failed[at + 1] = self._failed[at] + any(each.fate != "retried" for each in node.failures)

    def lines(self, max_tokens: int, value_characters: int) -> list[str]:
        """
        Write as much as fits.

        Args:
            max_tokens: How many tokens the lines take at most, each with its newline.
            value_characters: How much of one argument or result is shown.

        Returns:
            Lines; [] where not even one fits.
        """
        items = self._rank(max_tokens // _LINE_TOKENS + 1)
        results = self._read_results([item.at for item in items if item.is_result])
        render = _Writer(self, results, value_characters)
        best: list[str] = []
        low, high = 1, len(items)
        while low <= high:
            middle = (low + high) // 2
            lines = list(render.lines(items[:middle]))
            if sum(estimate_tokens(line) + 1 for line in lines) <= max_tokens:
                best, low = lines, middle + 1
            else:
                high = middle - 1
        return best

    def _name_equals(self) -> list[int]:
        """Give each node a number that it shares with the nodes that did the same; -1 to one not counted."""
        numbers: dict[Any, int] = {}
        kinds: dict[tuple[str, str, str], int] = {}
        same = []
        for node in self._nodes:
            if node.family == "event" and node.name in _QUIET_EVENTS:
                same.append(-1)
                continue
            kind = (node.family, node.name, node.status)
            given = node.payload_json if node.family == "call" else ""
            number = numbers.setdefault((kind, given), len(numbers))
            if number == len(self._kind_of):
                at = kinds.setdefault(kind, len(kinds))
                if at == len(self._kinds):
                    self._kinds.append(kind)
                self._kind_of.append(at)
            same.append(number)
        return same

    def _rank(self, limit: int) -> list[_Item]:
        """Give what to show, the most important first, at most *limit*."""
        items: dict[_Item, None] = {}
        for at, is_result in self._iter_ranked():
            if self._from <= at < self._until and self._same[at] >= 0:
                items.setdefault(_Item(at, is_result))
                if len(items) >= limit:
                    break
        return list(items)

    def _iter_ranked(self) -> Iterator[tuple[int, bool]]:
        nodes = self._nodes
        within = range(self._from, self._until)
        if self._cause is not None:
            above = [at for at in self._run.lineage(self._cause) if at in within]
            yield self._cause, False
            yield from ((at, False) for at in [*above[:_ABOVE], *above[-1:]])
            yield self._cause, True
        for at in self._marked:
            yield at, False
        around = [] if self._cause is None else self._around(self._cause)
        yield from ((at, False) for at in around)
        roots = [at for at in within if nodes[at].parent is None or at == self._from]
        yield from ((at, False) for at in roots[:8])
        troubled = [
            at
            for at in within
            if nodes[at].status in ("error", "interrupted")
            or any(each.fate != "retried" for each in nodes[at].failures)
        ]
        yield from ((at, False) for at in troubled)
        yield from ((at, True) for at in around)
        agents = [at for at in within if nodes[at].family == "agent"]
        yield from ((at, False) for at in agents)
        yield from ((at, True) for at in agents)
        yield from ((at, True) for at in troubled)
        for at in within:
            yield at, False
        for at in within:
            yield at, True

    def _around(self, cause: int) -> list[int]:
        """Give what stands just before and just after a node, beside it."""
        parent = self._nodes[cause].parent
        if parent is None:
            return []
        beside = self._nodes[parent].children
        place = beside.index(cause)
        before = [at for at in beside[max(0, place - 4 * _BEFORE) : place] if self._same[at] >= 0][-_BEFORE:]
        after = [at for at in beside[place + 1 : place + 1 + 4 * _AFTER] if self._same[at] >= 0][:_AFTER]
        return [*reversed(before), *after]

    def _read_results(self, wanted: Iterable[int]) -> dict[int, Any]:
        """Read what these nodes gave back; those that gave nothing are left out."""
        results: dict[int, Any] = {}
        of_turns: dict[int, int] = {}
        for at in wanted:
            node = self._nodes[at]
            end = self._run.ends.get(node.span_id or "")
            if end is None or node.family == "event":
                continue
            if node.family == "turn":
                of_turns[end.id] = at
                continue
            output = self._run.output(node)
            if output is not None:
                results[at] = output
        for row_id, payload_json in self._run.read_payloads(of_turns):
            output = parse_payload(payload_json).get("output")
            if output is not None:
                results[of_turns[row_id]] = output
        return results

    # What the writer asks

    def node(self, at: int) -> TreeNode:
        """Give a node."""
        return self._nodes[at]

    def end(self, at: int) -> int:
        """Give where what is below a node ends."""
        return at + self._sizes[at]

    @property
    def span(self) -> tuple[int, int]:
        """From where to where the outline goes."""
        return self._from, self._until

    def is_cause(self, at: int) -> bool:
        """Tell whether a node is the first cause."""
        return at == self._cause

    def sum_up(self, start: int, end: int) -> str | None:
        """Say in a line what stands from *start* to before *end*; None where nothing is worth it."""
        equal = Counter(self._same[start:end])
        equal.pop(-1, None)
        if not equal:
            return None
        counts: Counter[int] = Counter()
        different: Counter[int] = Counter()
        for number, times in equal.items():
            counts[self._kind_of[number]] += times
            different[self._kind_of[number]] += 1
        parts = []
        for kind, times in counts.most_common(_GROUPS):
            family, name, status = self._kinds[kind]
            ending = f" {_render_status(status)}" if status else ""
            part = f"{render_count(times)} {_WORDS[family]} {quote_name(name)}{ending}"
            if family == "call" and times > 1 and different[kind] == 1:
                part += " with equal arguments"
            elif family == "call" and different[kind] * 2 < times:
                part += f" with {render_count(different[kind])} different arguments"
            parts.append(part)
        rest = len(counts) - _GROUPS
        if rest > 0:
            others = sum(counts.values()) - sum(times for _, times in counts.most_common(_GROUPS))
            parts.append(f"{render_count(others)} of {pluralize(rest, 'other kind')}")
        failed = self._failed[end] - self._failed[start]
        tail = f"; {pluralize(failed, 'failure')} among them" if failed else ""
        return f"- ({render_count(sum(counts.values()))} not shown: {', '.join(parts)}{tail})"


class _Writer:
    """Writes an outline's lines, again and again, remembering what it has written of each node."""

    def __init__(self, outline: Outline, results: dict[int, Any], value_characters: int) -> None:
        self._outline = outline
        self._results = results
        self._limit = value_characters
        self._written: dict[int, list[str]] = {}
        self._given_back: dict[int, str] = {}

    def lines(self, items: Sequence[_Item]) -> Iterator[str]:
        """Write the nodes among *items* in the order of the tree, and count what is between them."""
        with_result = {item.at for item in items if item.is_result and item.at in self._results}
        first, end = self._outline.span
        open_nodes: list[tuple[int, int]] = []
        """Shown nodes that what comes next may stand below: where each ends, and itself."""
        reached = first
        for at in sorted({item.at for item in items}):
            while open_nodes and open_nodes[-1][0] <= at:
                yield from self._between(reached, open_nodes[-1][0], len(open_nodes))
                reached = max(reached, open_nodes.pop()[0])
            yield from self._between(reached, at, len(open_nodes))
            above = self._outline.node(open_nodes[-1][1] if open_nodes else first).depth - (not open_nodes)
            yield from self._node(at, len(open_nodes), above, at in with_result)
            open_nodes.append((self._outline.end(at), at))
            reached = at + 1
        while open_nodes:
            yield from self._between(reached, open_nodes[-1][0], len(open_nodes))
            reached = max(reached, open_nodes.pop()[0])
        yield from self._between(reached, end, 0)

    def _between(self, start: int, end: int, level: int) -> Iterator[str]:
        text = self._outline.sum_up(start, end) if start < end else None
        if text is not None:
            yield _indent(level) + text

    def _node(self, at: int, level: int, depth_above: int, is_with_result: bool) -> Iterator[str]:
        written = self._written.get(at)
        if written is None:
            written = self._written[at] = list(self._describe(at))
        indent = _indent(level)
        skipped = self._outline.node(at).depth - depth_above - 1
        for number, line in enumerate(written):
            if number:
                yield f"{indent}  {line}"
            elif skipped > 0:
                yield f"{indent}- ({pluralize(skipped, 'level')} further down) {line[2:]}"
            else:
                yield indent + line
        if is_with_result:
            text = self._given_back.get(at)
            if text is None:
                text = self._given_back[at] = _quote("gave back", self._results[at], self._limit)
            yield f"{indent}  {text}"

    def _describe(self, at: int) -> Iterator[str]:
        node = self._outline.node(at)
        limit = self._limit * 2 if self._outline.is_cause(at) else self._limit
        head = "- " + _title(node) + (" <== the first cause" if self._outline.is_cause(at) else "")
        payload = parse_payload(node.payload_json)
        given = {"call": "arguments", "agent": "input"}.get(node.family)
        value = payload.get(given) if given is not None else payload
        if value is None or value in ({}, []) or node.family == "turn":
            yield head
        else:
            yield _quote(head, value, limit)
        shown = [each for each in node.failures if node.attempts <= 1 or each.fate != "retried"]
        for failure in shown[:_FAILURES]:
            yield _describe_failure(failure, limit)
        if len(shown) > _FAILURES:
            yield f"(and {pluralize(len(shown) - _FAILURES, 'more failure')})"


def _measure(nodes: Sequence[TreeNode]) -> list[int]:
    """Give for each node how many nodes it and what is below it are."""
    sizes = [1] * len(nodes)
    for at in range(len(nodes) - 1, -1, -1):
        parent = nodes[at].parent
        if parent is not None:
            sizes[parent] += sizes[at]
    return sizes


def _indent(level: int) -> str:
    return "  " * min(level, _INDENTS)


def _render_status(status: str) -> str:
    return status if status in _PLAIN_STATUSES else quote_name(status)


def _title(node: TreeNode) -> str:
    number = f" {node.turn}" if node.family == "turn" and node.turn is not None else ""
    facts = [_render_status(node.status)] if node.status else []
    if node.duration_ms is not None and node.family != "event":
        facts.append(render_duration(node.duration_ms))
    if node.attempts > 1:
        facts.append(f"{node.attempts} attempts of which {node.failed_attempts} failed")
    if node.family == "turn":
        facts.append(describe_tokens(node.input_tokens, node.output_tokens))
    facts += node.notes
    tail = ", ".join(fact for fact in facts if fact)
    return f"{_WORDS[node.family]}{number} {quote_name(node.name)} #{node.row_id}" + (
        f": {tail}" if tail else ""
    )


def _describe_failure(failure: NodeFailure, limit: int) -> str:
    returned = "gave back a failure" if failure.returned else f"failed with {quote_name(failure.error_type)}"
    fate = f", {quote_name(failure.fate)}" if failure.fate else ""
    message = failure.message.strip()
    head = f"{returned}{fate} #{failure.row_id}"
    if not message:
        return head
    return _mark(head, quote_text, message, limit)


def _quote(head: str, value: Any, limit: int) -> str:
    return _mark(head, quote_value, value, limit)


def _mark(head: str, quote: Callable[[Any, int], Any], value: Any, limit: int) -> str:
    quoted = quote(value, limit)
    cut = f" (cut, {render_count(quoted.size)} characters)" if quoted.is_cut else ""
    return f"{head}{cut} {DATA_MARK}{quoted.text}"
