"""
Three subagents under asyncio.gather, of which one fails and is dropped.

    AGENTTRACE=1 python examples/gather_drops_a_failure.py
    agenttrace show last

`agenttrace show` prints the agent `editor` with three subagents `reader` side by side, each with one
call of `fetch_page`. The second `reader` ended in error: LookupError left its call and the subagent
as one failure. `gather(return_exceptions=True)` handed it over as a value, the editor filtered it out
and ended ok, so the failure is marked as swallowed. The program itself prints "2 pages".
"""

import asyncio

from agenttrace import agent_scope, traced_tool

PAGES = {"intro": "Welcome.", "usage": "Call it."}


@traced_tool
async def fetch_page(name: str) -> str:
    await asyncio.sleep(0)
    if name not in PAGES:
        raise LookupError(f"there is no page {name!r}")
    return PAGES[name]


async def read(name: str) -> str:
    async with agent_scope("reader", input=name) as reader:
        text = await fetch_page(name)
        reader.set_output(text)
        return text


async def main() -> None:
    async with agent_scope("editor", input="Join the pages") as editor:
        answers = await asyncio.gather(read("intro"), read("appendix"), read("usage"), return_exceptions=True)
        pages = [answer for answer in answers if isinstance(answer, str)]
        editor.set_output(f"{len(pages)} pages")
        print(f"{len(pages)} pages")


asyncio.run(main())
