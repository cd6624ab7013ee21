"""A value that fits nowhere, for lists of wrong arguments."""

# Named as what it stands for, with a repr that is the same in every process, so that tests keep their names.
ODD = type("object", (), {"__repr__": lambda _: "object()"})()
