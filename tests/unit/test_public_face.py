"""What the package shows: sorted, documented, typed, IBM's order of arguments, and a light import."""

import enum
import inspect
import json
import re
import subprocess
import sys
import tomllib
import types
import typing
from pathlib import Path

import attrs
import pytest

import rerank_async
from rerank_async import AsyncAPIClient, AsyncRerank

PROJECT = Path(rerank_async.__file__).parent.parent
CLASSES = sorted(
    (getattr(rerank_async, name) for name in rerank_async.__all__ if inspect.isclass(getattr(rerank_async, name))),
    key=lambda kind: kind.__name__,
)
ERRORS = [getattr(rerank_async.errors, name) for name in rerank_async.errors.__all__]


def public_members(kind):
    """The functions and properties that a class of ours defines under a public name, and its constructor."""
    for owner in kind.__mro__:
        if not owner.__module__.startswith("rerank_async"):
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") and name != "__init__":
                continue
            if name == "__init__" and getattr(owner, "_is_protocol", False):
                continue  # typing makes it, and nobody calls it
            if isinstance(member, property):
                yield f"{owner.__name__}.{name}", member.fget
            elif isinstance(member, classmethod | staticmethod):
                yield f"{owner.__name__}.{name}", member.__func__
            elif inspect.isfunction(member):
                yield f"{owner.__name__}.{name}", member


MEMBERS = dict(sorted(pair for kind in {*CLASSES, *ERRORS} for pair in public_members(kind)))


def test_all_is_sorted_and_complete():
    def place(name):  # as ruff sorts it: constants, classes, the rest
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert rerank_async.__all__ == sorted(set(rerank_async.__all__), key=place)
    shown = {
        name for name, value in vars(rerank_async).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert shown == set(rerank_async.__all__) - {"__version__", "errors"}


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert rerank_async.__version__ == project["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", rerank_async.__version__)


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for name in ("cli", "local", "eval", "orjson") for each in extras[name])]
    allowed = dict(each.split(">=") for each in wanted if ">=" in each)
    del allowed["numpy"]  # the tools of the tests want a newer one
    lines = (PROJECT / "tests" / "oldest.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: re.sub(r"(\.0)+$", "", version) for name, version in tested.items()} == allowed


@pytest.mark.parametrize("kind", [*CLASSES, *ERRORS], ids=lambda kind: kind.__name__)
def test_every_class_is_documented_in_words_of_its_own(kind):
    words = vars(kind).get("__doc__") or ""
    assert len(words.split()) >= 3
    assert not words.startswith(f"{kind.__name__}("), "that is what dataclasses write by themselves"


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if attrs.has(kind)], ids=lambda kind: kind.__name__)
def test_every_field_is_documented_and_typed(kind):
    documented = {
        name for owner in kind.__mro__ for name in re.findall(r"^ *(\w+): ", owner.__doc__ or "", re.MULTILINE)
    }
    if kind.__module__.endswith(".events"):
        documented |= {"call", "at", "batch", "inputs"}  # said once for all events
    for field in attrs.fields(kind):
        assert field.name in documented, f"{kind.__name__}.{field.name} is not documented"
        assert field.type is not None


@pytest.mark.parametrize("name", MEMBERS)
def test_every_public_method_is_documented_and_typed(name):
    function = MEMBERS[name]
    generated = attrs.has(next((kind for kind in {*CLASSES, *ERRORS} if name.startswith(f"{kind.__name__}.")), type))
    if not name.endswith("__init__"):
        assert (function.__doc__ or "").strip(), f"{name} is not documented"
    elif generated and "attrs" in function.__code__.co_filename:
        return  # attrs makes it of the fields, which have a test of their own
    elif function.__module__ == "typing":
        return  # the one of protocols, which nobody calls
    signature = inspect.signature(function)
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name}) is not typed"
    assert signature.return_annotation is not inspect.Signature.empty, f"{name} does not say what it returns"


@pytest.mark.parametrize(
    "function",
    [
        AsyncRerank.__init__,
        AsyncRerank.generate,
        AsyncRerank.stream,
        AsyncRerank.generate_many,
        AsyncAPIClient.__init__,
        AsyncRerank.plan,
        AsyncRerank.with_options,
    ],
    ids=lambda function: function.__qualname__,
)
def test_the_arguments_of_the_big_functions_are_documented_or_refer_to_another(function):
    words = function.__doc__ or ""
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    missing = [name for name in names if not re.search(rf"\b{name}\b", words)]
    assert not missing or "generate" in words


@pytest.mark.parametrize("name", rerank_async.__all__)
def test_no_name_leaks_from_elsewhere(name):
    value = getattr(rerank_async, name)
    if inspect.isclass(value):
        assert value.__module__.startswith("rerank_async.")
    else:
        assert isinstance(value, str | enum.Enum | types.ModuleType | types.UnionType) or typing.get_origin(value)


# IBM's names and order


def names_of(function, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD):
    return [
        name for name, each in inspect.signature(function).parameters.items() if each.kind is kind and name != "self"
    ]


def test_the_constructor_has_ibm_s_arguments_in_ibm_s_order():
    assert names_of(AsyncRerank) == [
        "model_id",
        "params",
        "credentials",
        "project_id",
        "space_id",
        "verify",
        "api_client",
    ]
    parameters = inspect.signature(AsyncRerank).parameters
    assert parameters["model_id"].default is inspect.Parameter.empty
    assert all(parameters[name].default is None for name in names_of(AsyncRerank)[1:])


def test_generate_has_ibm_s_arguments_in_ibm_s_order():
    assert names_of(AsyncRerank.generate) == ["query", "inputs", "params", "crypto"]
    assert inspect.iscoroutinefunction(AsyncRerank.generate)
    assert names_of(AsyncRerank.plan) == names_of(AsyncRerank.stream) == ["query", "inputs", "params", "crypto"]


def test_stream_takes_what_generate_takes():
    generate, stream = (dict(inspect.signature(each).parameters) for each in (AsyncRerank.generate, AsyncRerank.stream))
    assert generate == stream


def test_the_api_client_has_ibm_s_arguments_first():
    assert names_of(AsyncAPIClient) == ["credentials", "project_id", "space_id", "verify"]


@pytest.mark.parametrize(
    "function",
    [
        AsyncRerank,
        AsyncRerank.generate,
        AsyncRerank.stream,
        AsyncRerank.generate_many,
        AsyncAPIClient,
        AsyncRerank.with_options,
    ],
)
def test_our_own_options_are_keyword_only(function):
    own = names_of(function, inspect.Parameter.KEYWORD_ONLY)
    assert own
    assert not set(own) & set(names_of(function))


# The import

_LOOK = """
import json, ssl, sys
made = []
def watched(name, original):
    def make(*args, **kwargs):
        made.append(sys._getframe(1).f_globals.get("__name__", ""))
        return original(*args, **kwargs)
    return make
for name in ("create_default_context", "_create_unverified_context", "_create_default_https_context"):
    setattr(ssl, name, watched(name, getattr(ssl, name)))
before = set(sys.modules)
import rerank_async
print(json.dumps({"modules": sorted(set(sys.modules) - before), "contexts": made}))
"""


@pytest.fixture(scope="module")
def imported():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _LOOK], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_fresh_import_is_the_real_one(imported):
    assert {"rerank_async", "rerank_async.client", "rerank_async.errors"} <= set(imported["modules"])


@pytest.mark.parametrize(
    "module",
    [
        "cattrs",
        "orjson",
        "click",
        "rich",
        "onnxruntime",
        "numpy",
        "tokenizers",
        "importlib.metadata",
        "backoff",
        "difflib",
        "rerank_async.server",
        "rerank_async.cli",
        "rerank_async.policy.specs",
    ],
)
def test_the_import_does_not_load(imported, module):
    assert module not in imported["modules"]


def test_the_import_makes_no_ssl_context_of_ours(imported):
    assert not [name for name in imported["contexts"] if name.startswith("rerank_async")]


def test_the_import_reads_no_environment():
    code = (
        "import os, sys\n"
        "import aiohttp, attrs, yarl  # what these read is theirs\n"
        "read = []\n"
        "real = type(os.environ).__getitem__\n"
        "type(os.environ).__getitem__ = lambda self, name: (read.append(name), real(self, name))[1]\n"
        "import rerank_async\n"
        "print([name for name in read if name.startswith(('WATSONX', 'RERANK'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
