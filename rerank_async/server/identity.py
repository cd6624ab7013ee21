"""The routes that give tokens: IAM, its trusted profiles, Cloud Pak for Data in two ways, and AWS (MCSP)."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from rerank_async.server import bodies
from rerank_async.server.bodies import Refusal
from rerank_async.server.doors import scene_of
from rerank_async.server.faults import FAULTS
from rerank_async.server.issuing import TokenIssuer
from rerank_async.server.record import Counts
from rerank_async.server.replies import TRACE_HEADER, json_reply
from rerank_async.server.settings import Settings
from rerank_async.values import contract

# Written here as the service has them, and not taken from the client: a mistake of one must not be that of the other.
# Source: ibm-watsonx-ai 1.8.1, utils/auth.
MCSP_PATH: Final = "/api/2.0/apikeys/token"
AUTHORIZE_PATH: Final = "/icp4d-api/v1/authorize"
IDENTITY_PATH: Final = "/idprovider/v1/auth/identitytoken"
VALIDATE_PATH: Final = "/v1/preauth/validateAuth"
_ASSUME: Final = "urn:ibm:params:oauth:grant-type:assume"

Exchange = Callable[[web.Request], Awaitable[dict[str, Any]]]
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TokenDoors:
    """All the ways to a token. They share one plan of faults, one latency and one count of requests.

    Args:
        settings: The server's settings.
        issuer: Makes the tokens.
        counts: Counters to keep.
        clock: Monotonic seconds.
    """

    def __init__(
        self, settings: Settings, issuer: TokenIssuer, counts: Counts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._issuer = issuer
        # An identity token of a Cloud Pak opens one door, the one that validates it.
        self._identities = TokenIssuer(settings.token_lifetime)
        self._counts = counts
        self._clock = clock
        self._plan = settings.plan("token")

    def routes(self) -> dict[tuple[str, str], Route]:
        """Handlers by (method, path)."""
        iam, platform = _iam_error, _platform_error
        return {
            ("POST", contract.TOKEN_PATH): self._door(self._iam, iam),
            ("POST", MCSP_PATH): self._door(self._mcsp, platform),
            ("POST", AUTHORIZE_PATH): self._door(self._authorize, platform),
            ("POST", IDENTITY_PATH): self._door(self._identity, platform),
            ("GET", VALIDATE_PATH): self._door(self._validate, platform),
        }

    def _door(self, exchange: Exchange, error: Callable[[Refusal], dict[str, Any]]) -> Route:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._counts.token_requests += 1
            if self._settings.token_latency:
                await asyncio.sleep(self._settings.token_latency)
            headers = {TRACE_HEADER: bodies.new_trace()}
            drawn = self._plan.next()
            try:
                if drawn is None:
                    return json_reply(200, await exchange(request), headers)
                self._counts.faults[drawn.fault.name] += 1
                scene = scene_of(request, headers, drawn, self._settings, lambda: exchange(request))
                return await FAULTS[drawn.fault.name].behaviour(scene)
            except Refusal as refusal:
                return json_reply(refusal.status, error(refusal), headers)

        return handle

    async def _iam(self, request: web.Request) -> dict[str, Any]:
        # IBM's SDK puts the fields of a trusted profile into the query; a key belongs into the form alone.
        form = {name: str(value) for name, value in (await request.post()).items()}
        if form.get("grant_type") == contract.APIKEY_GRANT_TYPE:
            if not self._is_key(form.get("apikey")):
                raise Refusal(400, "BXNIM0415E", "Provided API key could not be found.")
            return self._granted()
        fields = {**request.query, **form}
        if fields.get("grant_type") == _ASSUME:
            return self._assumed(fields)
        raise Refusal(400, "BXNIM0109E", "Property missing or empty or not supported: grant_type.")

    def _assumed(self, fields: Mapping[str, str]) -> dict[str, Any]:
        if self._issuer.standing(fields.get("access_token", ""), self._clock()) != "valid":
            raise Refusal(400, "BXNIM0139E", "Provided access token is not valid or has expired.")
        known = self._settings.profile_id
        if not fields.get("profile_id") or (known is not None and fields["profile_id"] != known):
            raise Refusal(400, "BXNIM0513E", "Provided trusted profile could not be found.")
        return self._granted({"sub_type": "Profile", "sub": fields["profile_id"]})

    def _granted(self, claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            "access_token": self._issued(claims),
            "refresh_token": "not_supported",
            "ims_user_id": 1,
            "token_type": "Bearer",
            **self._life(),
            "scope": "ibm openid",
        }

    def _life(self) -> dict[str, Any]:
        return {
            "expires_in": self._whole_lifetime(),
            "expiration": math.floor(time.time() + self._settings.token_lifetime),
        }

    async def _mcsp(self, request: web.Request) -> dict[str, Any]:
        if not self._is_key((await _json_of(request)).get("apikey")):
            raise _unauthorized("Provided API key could not be found.")
        return {"token": self._issued(), "token_type": "Bearer", **self._life()}

    async def _authorize(self, request: web.Request) -> dict[str, Any]:
        fields = await _json_of(request)
        by_key = "api_key" in fields  # which wins over a password
        good = self._is_key(fields["api_key"]) if by_key else self._is_password(fields.get("password"))
        if not good or fields.get("username") != self._settings.username:
            raise _unauthorized("Username or password invalid")
        return {"_messageCode_": "200", "message": "Success", "token": self._issued()}

    async def _identity(self, request: web.Request) -> dict[str, Any]:
        form = await request.post()
        if (form.get("grant_type"), form.get("scope")) != ("password", "openid"):
            raise Refusal(400, "invalid_request", "grant_type has to be password, and scope openid")
        if form.get("username") != self._settings.username or not self._is_password(form.get("password")):
            raise _unauthorized("Username or password invalid")
        token = self._identities.issue(self._clock(), time.time())
        return {"access_token": token, "expires_in": self._whole_lifetime(), "token_type": "Bearer", "scope": "openid"}

    async def _validate(self, request: web.Request) -> dict[str, Any]:
        token = request.headers.get("iam-token", "")
        is_good = self._identities.standing(token, self._clock()) == "valid"
        if not is_good or request.headers.get("username") != self._settings.username:
            raise _unauthorized("The IAM token is not valid for this user")
        return {"username": self._settings.username, "accessToken": self._issued()}

    def _issued(self, claims: Mapping[str, Any] | None = None) -> str:
        self._counts.tokens += 1
        return self._issuer.issue(self._clock(), time.time(), claims=claims)

    def _whole_lifetime(self) -> float:
        # IAM gives whole seconds; a life of less than a second, which IAM does not have, would be none.
        lifetime = self._settings.token_lifetime
        return int(lifetime) if lifetime >= 1 else lifetime

    def _is_key(self, value: object) -> bool:
        return _is_same(value, self._settings.api_key)

    def _is_password(self, value: object) -> bool:
        return _is_same(value, self._settings.password)


def _iam_error(refusal: Refusal) -> dict[str, Any]:
    return bodies.identity_error(refusal.code, refusal.message)


def _platform_error(refusal: Refusal) -> dict[str, Any]:
    return bodies.platform_error(refusal.status, refusal.code, refusal.message)


def _is_same(given: object, ours: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode())


async def _json_of(request: web.Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError) as exc:
        raise Refusal(400, "invalid_request", "The request body is not valid JSON") from exc
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_request", "The request body must be a JSON object")
    return value


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, "invalid_credentials", message)
