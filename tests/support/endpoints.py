"""A token endpoint on the fake clock, in place of the runtime's `Http`: what is sent, and scripted answers."""

import json

from multidict import CIMultiDict

from rerank_async.runtime.http import Answer


class Endpoint:
    """Grants tokens t1, t2, ... after ``latency``; ``trouble(now)`` may answer something else, or raise."""

    def __init__(self, clock, *, lifetime=3600.0, latency=0.0, trouble=lambda now: None):
        self.clock = clock
        self.lifetime = lifetime
        self.latency = latency
        self.trouble = trouble
        self.requests = []
        self.granted = {}  # the whole header: when the token dies

    async def send(self, method, url, *, headers, authorization=None, body=None, limit=None):
        self.requests.append((method, str(url), headers, body))
        if self.latency:
            await self.clock.sleep(self.latency)
        answer = self.trouble(self.clock.now())
        if answer is not None:
            if isinstance(answer, Exception):
                raise answer
            return answer
        token = f"t{len(self.granted) + 1}"
        self.granted[f"Bearer {token}"] = self.clock.now() + self.lifetime
        return reply({"access_token": token, "token": token, "expires_in": self.lifetime})

    def takes(self, token):
        """Whether the service would take it now."""
        return self.clock.now() < self.granted[token.authorization.reveal()]


def reply(value, status=200, **headers):
    """An answer of an endpoint."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Answer(status, CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), body)
