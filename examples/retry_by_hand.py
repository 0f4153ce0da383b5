"""
A loop that tries again: three attempts of one call, shown as one.

    AGENTTRACE=1 python examples/retry_by_hand.py
    agenttrace show last

`agenttrace show` prints the agent `booker` with one call of `book_table` that needed three attempts: two
failed with ConnectionError, marked as retried, the third went well. Nothing in the loop speaks of tracing;
a call that is repeated with equal arguments right after its error is known as another attempt.
"""

import time

from agenttrace import agent_scope, traced_tool

BUSY_SIGNALS = [True, True, False]


@traced_tool
def book_table(guests: int) -> str:
    if BUSY_SIGNALS.pop(0):
        raise ConnectionError("the line is busy")
    return f"a table for {guests}"


with agent_scope("booker", input="A table for four") as booker:
    for attempt in range(1, 6):
        try:
            booked = book_table(guests=4)
            break
        except ConnectionError:
            time.sleep(0.01 * attempt)
    booker.set_output(booked)
    print(booked)
