"""Which request meets which fault."""

import pytest

from rerank_async.server.faults import FAULTS, Fault, FaultPlan, read_faults


def names(plan, requests):
    met = (plan.next() for _ in range(requests))
    return [drawn and drawn.fault.name for drawn in met]


def test_nth_counts_requests_from_one():
    plan = FaultPlan([Fault("hang", nth=(2, 5))], "rerank", seed=0)
    assert names(plan, 6) == [None, "hang", None, None, "hang", None]


def test_the_first_of_two_faults_that_hit_is_taken():
    plan = FaultPlan([Fault("hang", nth=(1,)), Fault("slow", share=1)], "rerank", seed=0)
    assert names(plan, 2) == ["hang", "slow"]


def test_a_share_is_met_within_what_chance_allows_and_the_same_with_the_same_seed():
    def met(seed):
        return names(FaultPlan([Fault("hang", share=0.05)], "rerank", seed), 4000)

    first = met(1)
    # 4000 draws at 5 % have a standard deviation of 13.8 around 200.
    assert 145 < first.count("hang") < 255
    assert met(1) == first
    assert met(2) != first


def test_a_fault_beside_another_does_not_change_its_draws():
    alone = names(FaultPlan([Fault("hang", share=0.3)], "rerank", seed=0), 200)
    beside = names(FaultPlan([Fault("slow", share=0.3), Fault("hang", share=0.3)], "rerank", seed=0), 200)
    assert [name == "hang" for name, other in zip(alone, beside, strict=True) if other != "slow"] == [
        name == "hang" for name in beside if name != "slow"
    ]


def test_a_seed_of_its_own_goes_before_the_servers():
    own = Fault("hang", share=0.5, seed=9)
    assert names(FaultPlan([own], "rerank", seed=1), 50) == names(FaultPlan([own], "rerank", seed=2), 50)


def test_the_generator_for_a_behaviour_depends_on_the_request_alone():
    def generators(share):
        plan = FaultPlan([Fault("unsorted", share=share, nth=(3,))], "rerank", seed=0)
        return [plan.next() for _ in range(3)][2].random.random()

    assert generators(1.0) == generators(0.01)


def test_each_door_has_its_own_faults_and_its_own_count():
    faults = [Fault("iam_error", nth=(1,)), Fault("hang", nth=(1,))]
    assert names(FaultPlan(faults, "token", seed=0), 1) == ["iam_error"]
    assert names(FaultPlan(faults, "rerank", seed=0), 1) == ["hang"]


def test_an_outage_begins_with_the_first_request_and_comes_again():
    now = 1000.0
    plan = FaultPlan([Fault("iam_unavailable", outage=(0.3, 0.5))], "token", seed=0, clock=lambda: now)
    met = []
    for at in (1000.0, 1000.29, 1000.31, 1000.49, 1000.51, 1000.79, 1000.81, 1900.0):
        now = at
        met += [name is not None for name in names(plan, 1)]
    assert met == [True, True, False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("outage", "kind"),
    [
        ((0, 1), ValueError),
        ((2, 1), ValueError),
        ((1, float("inf")), ValueError),
        (1, TypeError),
        (("1", 2), TypeError),
    ],
    ids=str,
)
def test_an_outage_that_cannot_be_is_refused(outage, kind):
    with pytest.raises(kind, match=r"Fault\.outage"):
        Fault("iam_unavailable", outage=outage)


def test_a_mapping_gives_shares_and_a_share_of_zero_is_no_fault():
    assert read_faults({"hang": 0.5, "slow": 0}) == (Fault("hang", share=0.5),)


@pytest.mark.parametrize("faults", [{"hnag": 0.1}, {"hnag": 0}])
def test_an_unknown_name_in_a_mapping_is_an_error_whatever_its_share(faults):
    with pytest.raises(ValueError, match="Did you mean 'hang'"):
        read_faults(faults)


def test_a_bare_name_is_no_list_of_faults():
    with pytest.raises(TypeError, match="it holds 'h'"):
        read_faults("hang")


def test_every_fault_says_in_one_line_what_the_client_sees():
    assert all(kind.description and "\n" not in kind.description for kind in FAULTS.values())
