"""What the drivers share: calls in on standard input, answers out on standard output, and a watch on the network.

A driver runs in the virtual environment of the client that it drives, so this needs nothing but the standard library.

In:  {"ca_file": path or null, "calls": [{"name", "url", "token_url", "api_key", "project_id", "model_id", "query", "texts", "top_n" or null}]}
Out: {"versions": {distribution: version}, "answers": {name: {"results": [[index, score]]} or {"error": words}}, "strayed": [target]}
"""

import contextlib
import ipaddress
import json
import sys
from importlib import metadata


def drive(distributions, ranker):
    """Make every call of the task with the client, and report.

    Args:
        distributions: What to report the versions of, the client first.
        ranker: Gives, for a CA file or None, a function from a call to pairs of index and score, in the client's order.
            The client is imported there and not before: an import may use the network too.
    """
    strayed = []
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, strayed))
    task = json.load(sys.stdin)
    # The report is all that may stand on standard output, and clients print as they please.
    with contextlib.redirect_stdout(sys.stderr):
        rank = ranker(task["ca_file"])
        answers = {call["name"]: _answer(rank, call) for call in task["calls"]}
    versions = {name: metadata.version(name) for name in distributions}
    json.dump({"versions": versions, "answers": answers, "strayed": strayed}, sys.stdout)


def _answer(rank, call):
    try:
        return {"results": [[int(index), float(score)] for index, score in rank(call)]}
    except Exception as exc:  # noqa: BLE001 - whatever a client raises is its answer
        return {"error": f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}"}


def _watch(event, arguments, strayed):
    """Refuse and remember every connection and every look-up of a name that is not this machine's own."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket has a path
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if not _is_local(host):
        strayed.append(str(host))
        raise OSError(f"interop: {host} is not this machine")


def _is_local(host):
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
