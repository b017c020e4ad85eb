"""`make demo`: starts the commands that a user would start, as processes, and tells what happens.

May import: the standard library, httpx, rich, msgspec. None of our packages: it sees what a user sees.
"""
