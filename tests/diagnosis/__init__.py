"""A bench for ``why``: healthy agents, one fault put into each, and what is found."""
