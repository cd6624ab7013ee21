"""The short way to a NamedTuple, for those that every call makes: half the cost of its constructor.

    made(Answer, (status, headers, body))

Nothing counts the values while it runs, so each use gives them as a tuple on the spot, and a test counts them there.
"""

made = tuple.__new__
