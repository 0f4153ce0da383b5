"""
Subagents in a thread pool: each keeps its own agent, and all keep their parent.

    AGENTTRACE=1 python examples/threads.py
    agenttrace show last

`agenttrace show` prints the agent `counter` with three subagents (`counter-a`, `counter-b`, `counter-c`),
which ran at the same time in threads of one pool. Each has two calls of `count_words`. Nothing is passed
along by hand: switching tracing on makes ThreadPoolExecutor hand the scope to its threads.
"""

from concurrent.futures import ThreadPoolExecutor

from agenttrace import agent_scope, traced_tool

TEXTS = {"a": ["one two", "three"], "b": ["four five six", "seven"], "c": ["eight", "nine ten"]}


@traced_tool
def count_words(text: str) -> int:
    return len(text.split())


def count_all(name: str) -> int:
    with agent_scope(f"counter-{name}", input=TEXTS[name]) as agent:
        total = sum(count_words(text) for text in TEXTS[name])
        agent.set_output(total)
        return total


with agent_scope("counter", input=sorted(TEXTS)) as lead:
    with ThreadPoolExecutor(max_workers=3) as pool:
        totals = list(pool.map(count_all, sorted(TEXTS)))
    lead.set_output(sum(totals))
    print(f"{sum(totals)} words")
