"""``rerank-async serve``: the local server, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from rerank_async.cli.exits import TABLE, InputError, note
from rerank_async.cli.model_dirs import scorers_of
from rerank_async.cli.output import Column, write_rows, write_text
from rerank_async.values.urls import is_loopback

if TYPE_CHECKING:
    from rerank_async.server import Scorer, Server

_KINDS = ("token_bucket", "fixed_window", "sliding_window")
_UNAVAILABLE = " (not available: needs the extra 'local')"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what the user asked for, and how to reach it


def _shares(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """``name=share``, several times; whether there is such a fault is for the server to say."""
    shares = {}
    for value in values:
        fault, _equals, share = value.partition("=")
        try:
            shares[fault] = float(share)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is not like server_error=0.1: a fault and the share of requests that meet it"
            ) from None
    return shares


def _retry_after(_: click.Context, __: click.Parameter, value: str | None) -> bool | float | None:
    """``exact``, or a number of seconds."""
    if value is None or value == "exact":
        return None if value is None else True
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither 'exact' nor a number of seconds") from None


@click.command(epilog=TABLE)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8008, show_default=True, help="0: any free port.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Admit N requests a window; others get a 429.  [default: all]",
)
@click.option("--window", type=float, metavar="S", help="Seconds of a window.  [default: 1]")
@click.option("--limit-kind", type=click.Choice(_KINDS), help="How they are counted.  [default: token_bucket]")
@click.option(
    "--retry-after",
    metavar="exact|S",
    callback=_retry_after,
    help="Send Retry-After with a 429: the exact wait, or these seconds.",
)
@click.option("--latency", type=float, default=0.0, metavar="S", help="Seconds that each answer takes longer.")
@click.option("--latency-per-input", type=float, default=0.0, metavar="S", help="And for each text in it.")
@click.option(
    "--fault",
    "faults",
    metavar="NAME=SHARE",
    multiple=True,
    callback=_shares,
    help="Let a share of the requests fail; repeatable.",
)
@click.option("--list-faults", is_flag=True, help="List the faults, and stop.")
@click.option("--token-lifetime", type=float, default=3600.0, metavar="S", help="Seconds for which a token is good.")
@click.option(
    "--api-key",
    default="local-api-key",
    show_default=True,
    help="The key it takes; choose one, it is no secret of yours.",
)
@click.option("--project-id", default="local-project", show_default=True, help="The project it takes.")
@click.option(
    "--tls-cert",
    type=click.Path(),
    metavar="FILE",
    help="Serve https with this certificate (PEM), for the name or address of --host.  [default: plain http]",
)
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="Its private key (PEM), without a passphrase.")
@click.option(
    "--model-dir",
    "model_dirs",
    metavar="[ID=]FOLDER",
    multiple=True,
    help="Offer the ONNX bi-encoder or cross-encoder of this folder too; repeatable. Needs the extra 'local'.",
)
def serve(*, list_faults: bool, **options: Any) -> None:
    """Serve the rerank API on this machine, until Ctrl-C or SIGTERM.

    The same requests and answers as watsonx.ai, with a real model, a rate limit and faults as you like them.

    \b
    rerank-async serve --limit 8
    rerank-async serve --port 0 --fault server_error=0.1 --fault hang=0.01 --latency 0.2
    rerank-async serve --model-dir cross-encoder/ms-marco-minilm-l-12-v2=exported/ms-marco
    """  # noqa: D301 - click reads the backspace: it keeps the lines below from being wrapped
    if list_faults:
        from rerank_async.server import FAULTS

        columns = (Column("fault"), Column("where"), Column("what the client sees", last=True))
        write_rows(columns, [[name, kind.door, kind.description] for name, kind in FAULTS.items()])
        return
    asyncio.run(_serve(_arguments(options), options["tls_cert"]))


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options in the words of `rerank_async.server.serve`."""
    from rerank_async.server import Latency, RateLimit
    from rerank_async.server.tls import server_context

    limit = {"window": options["window"], "kind": options["limit_kind"], "retry_after": options["retry_after"]}
    given = {name: value for name, value in limit.items() if value is not None}
    if given and options["limit"] is None:
        raise InputError("--window, --limit-kind and --retry-after belong to --limit N, which is not given")
    try:
        return {
            "scorers": scorers_of(options["model_dirs"]),
            "host": options["host"],
            "port": options["port"],
            "limit": None if options["limit"] is None else RateLimit(requests=options["limit"], **given),
            "latency": Latency(base=options["latency"], per_input=options["latency_per_input"]),
            "faults": options["faults"],
            "token_lifetime": options["token_lifetime"],
            "api_key": options["api_key"],
            "project_id": options["project_id"],
            "ssl_context": server_context(options["tls_cert"], options["tls_key"], names=("--tls-cert", "--tls-key")),
        }
    except (TypeError, ValueError) as exc:
        raise InputError(str(exc)) from exc


async def _serve(arguments: dict[str, Any], tls_cert: str | None) -> None:
    from rerank_async import server

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        for scorer in arguments["scorers"].values():
            stack.push_async_callback(scorer.close)
        try:
            running = await stack.enter_async_context(server.serve(**arguments))
        except (TypeError, ValueError) as exc:
            raise InputError(str(exc)) from exc
        except OSError as exc:
            raise InputError(_no_address(exc, arguments["host"], arguments["port"])) from exc
        _announce(running, arguments["host"], arguments["scorers"], tls_cert)
        await stopped.wait()
    throttled = f", {running.counts.throttled} of them answered with a 429" if running.counts.throttled else ""
    note(f"stopped after {running.counts.rerank} rerank requests{throttled}")


def _no_address(exc: OSError, host: str, port: int) -> str:
    where = f"cannot listen on {host}:{port}"
    reason = os.strerror(exc.errno) if exc.errno is not None and exc.errno > 0 else exc.strerror or exc
    return f"{where}: {reason}; choose another --host or --port (0 is any free one)"


def _announce(running: Server, host: str, scorers: dict[str, Scorer], tls_cert: str | None) -> None:
    from rerank_async.server.specs import is_available

    notes = {model_id: "" if is_available(scorer) else _UNAVAILABLE for model_id, scorer in scorers.items()}
    suggested = next(model_id for model_id, remark in notes.items() if not remark)  # `lexical` always is
    url = running.url.replace(f"//{host}:", f"//{_EVERYWHERE.get(host, host)}:").replace("//[::]:", "//[::1]:")
    if not is_loopback(host):
        how = "" if tls_cert else ", over plain http"
        note(f"warning: {host} is not loopback, so whoever reaches this machine can use the server{how}")
    exports = {
        "WATSONX_URL": url,
        "WATSONX_APIKEY": running.api_key,
        "WATSONX_PROJECT_ID": running.project_id or "any",
    }
    lines = (
        f"Serving {running.url}",
        "Models: " + ", ".join(model_id + remark for model_id, remark in notes.items()),
        "In another terminal:",
        "  export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in exports.items()),
        f"  rerank-async rank 'how do I copy a folder' README.md --model {shlex.quote(suggested)}",
        *_trust(tls_cert),
        "Ctrl-C stops it.",
    )
    write_text("\n".join(lines) + "\n")


def _trust(tls_cert: str | None) -> tuple[str, ...]:
    if tls_cert is None:
        return ()
    return (
        f"Clients have to trust the certificate in {tls_cert}, by a CA file: that of whoever signed it",
        "  on the command line: SSL_CERT_FILE=ca.pem; in Python: AsyncRerank(..., verify='ca.pem')",
    )
