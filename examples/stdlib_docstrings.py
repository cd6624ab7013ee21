"""Real text that every machine has: the first paragraphs of the standard library's docstrings."""

import importlib
import inspect
import re
import sys
import warnings

INSIDE = "concurrent.futures http.client logging.handlers os.path unittest.mock urllib.request xml.etree.ElementTree"
SKIPPED = "antigravity distutils genericpath idlelib ntpath posixpath readline this tkinter turtle turtledemo"


def passages() -> list[str]:
    """What public classes and functions say of themselves: each once, under the first module that offers it."""
    found: dict[int, str] = {}
    names = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    for name in sorted(names.union(INSIDE.split()).difference(SKIPPED.split())):
        try:
            with warnings.catch_warnings(action="error"):
                module = importlib.import_module(name)
        except (ImportError, Warning):
            continue  # a module of another system, or a deprecated one
        for word, thing in inspect.getmembers(module, lambda it: inspect.isclass(it) or inspect.isroutine(it)):
            home = (getattr(thing, "__module__", None) or name).strip("_").partition(".")[0]
            public = word in getattr(module, "__all__", [word] if name.startswith(home) else [])
            if public and not word.startswith("_") and (first := first_paragraph(thing.__doc__)):
                found.setdefault(id(thing), f"{name}.{word}: {first}")
    return list(found.values())


def first_paragraph(docstring: object) -> str:
    """The first paragraph on one line, without the signature that C functions put before it; empty if there is none."""
    if not isinstance(docstring, str):
        return ""
    unsigned = re.sub(r"^[\w.]*\([^)]*\)( -+> [^.\n]*\.?)?", "", inspect.cleandoc(docstring))
    return " ".join(unsigned.strip().partition("\n\n")[0].split())
