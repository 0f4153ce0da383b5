"""
From the program's thread into the database, through memory that outlives the process.

``recorder`` is the door; ``recovery`` is the other one, for whoever comes after a crash.
"""

__all__: list[str] = []
