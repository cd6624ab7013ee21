"""Tokens: good for a while, revocable, and of the form of a JWT."""

import base64
import json

from rerank_async.server.issuing import TokenIssuer


def test_a_token_is_good_until_its_lifetime_is_over():
    issuer = TokenIssuer(lifetime=10)
    token = issuer.issue(now=100, unix_now=0)
    assert [issuer.standing(token, now) for now in (100, 109.9, 110)] == ["valid", "valid", "expired"]


def test_a_token_may_have_a_lifetime_of_its_own_and_zero_is_expired_at_once():
    issuer = TokenIssuer(lifetime=10)
    assert issuer.standing(issuer.issue(0, 0, lifetime=20), 15) == "valid"
    assert issuer.standing(issuer.issue(0, 0, lifetime=0), 0) == "expired"


def test_revoked_tokens_have_expired_and_later_ones_have_not():
    issuer = TokenIssuer(lifetime=10)
    before = issuer.issue(0, 0)
    issuer.revoke(5)
    after = issuer.issue(5, 0)
    assert (issuer.standing(before, 5), issuer.standing(after, 5)) == ("expired", "valid")


def test_no_two_tokens_are_alike_and_others_are_unknown():
    issuer = TokenIssuer(lifetime=10)
    assert issuer.issue(0, 0) != issuer.issue(0, 0)
    assert issuer.standing("a.b.c", 0) == "unknown"


def test_a_token_carries_its_end_in_unix_time():
    header, payload, _ = TokenIssuer(lifetime=3600).issue(0, 1_700_000_000.5).split(".")
    decode = lambda part: json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))  # noqa: E731
    assert decode(header)["typ"] == "JWT"
    assert (decode(payload)["iat"], decode(payload)["exp"]) == (1_700_000_000, 1_700_003_600)


def test_only_the_last_ten_thousand_are_remembered():
    issuer = TokenIssuer(lifetime=10)
    first, *_, last = [issuer.issue(0, 0) for _ in range(10_001)]
    assert (issuer.standing(first, 0), issuer.standing(last, 0)) == ("unknown", "valid")
