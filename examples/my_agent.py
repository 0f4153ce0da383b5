"""
The smallest agent worth tracing: a tool, an agent, a subagent, and an error that nobody hears of.

    AGENTTRACE=1 python examples/my_agent.py
    agenttrace show last

`agenttrace show` prints one tree: the agent `planner` with a good call of `search`, and inside it the
subagent `weather`, which ended ok although its call of `search` failed with TimeoutError. That failure
is marked as swallowed: the planner's answer rests on a guess. `agenttrace errors` lists it, too.
"""

from agenttrace import agent_scope, traced_tool


@traced_tool
def search(query: str) -> str:
    if "weather" in query:
        raise TimeoutError(f"no answer to {query!r} within 5 s")
    return f"three pages about {query}"


with agent_scope("planner", input="Plan my weekend") as planner:
    found = search("museums in Porto")
    with agent_scope("weather", input="Will it rain?") as weather:
        try:
            forecast = search("weather in Porto")
        except TimeoutError:
            forecast = "sunny"  # a guess, and nobody is told
        weather.set_output(forecast)
    planner.set_output(f"Walk, it will be {forecast}. In case of rain: {found}.")
