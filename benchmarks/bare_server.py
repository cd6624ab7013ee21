"""A rerank server in a process of its own that costs next to nothing: one canned answer, as fast as asyncio writes it.

Not the product's local server: here only the client is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

INPUTS = 10
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-global-transaction-id: t\r\n\r\n"


def _answer(inputs: int) -> bytes:
    body = json.dumps(
        {
            "model_id": "canned",
            "created_at": "2025-01-01T00:00:00.000Z",
            "results": [{"index": index, "score": 8.0 / (index + 0.7) - 4.0} for index in range(inputs)],
            "input_token_count": 100,
        }
    ).encode()
    return _HEAD % len(body) + body


class _Canned(asyncio.Protocol):
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            self._buffer = self._buffer[end + 4 + size :]
            self._transport.write(self.answer)


async def _main(inputs: int) -> None:
    _Canned.answer = _answer(inputs)
    server = await asyncio.get_running_loop().create_server(_Canned, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def bare_server(inputs: int = INPUTS) -> Iterator[str]:
    """Starts the server in a process of its own, for requests of so many inputs; gives its URL."""
    with subprocess.Popen([sys.executable, __file__, str(inputs)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
