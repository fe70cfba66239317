"""What is landed next, and how it is shared out: without a broker."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.kafka.ranges import (
    OffsetRange,
    TopicState,
    plan_ranges,
    range_of_app_id,
    share_out,
    split_ranges,
)
from schemas.errors import LakeError

TOPIC, ID = "raw.hl7v2", "kL9-x_aQTe6/+w"


def state(**partitions: tuple[int, int]) -> TopicState:
    return TopicState(TOPIC, ID, {int(name[1:]): offsets for name, offsets in partitions.items()})


def app(partition: int, topic_id: str = ID) -> str:
    return f"land:{TOPIC}:{topic_id}:{partition}"


NOTHING: dict[str, int] = {}


def test_a_new_topic_is_read_from_its_beginning() -> None:
    plan = plan_ranges(state(p0=(0, 5), p1=(0, 0), p2=(0, 3)), NOTHING.get)
    assert plan == [OffsetRange(TOPIC, ID, 0, 0, 5), OffsetRange(TOPIC, ID, 2, 0, 3)]


def test_a_plan_goes_on_where_the_last_one_ended() -> None:
    done = {app(0): 5, app(1): 2}
    assert plan_ranges(state(p0=(0, 5), p1=(1, 7)), done.get) == [OffsetRange(TOPIC, ID, 1, 2, 7)]
    assert plan_ranges(state(p0=(0, 5), p1=(0, 2)), done.get) == []


def test_another_life_of_the_topic_and_a_partition_that_was_added_begin_at_their_beginning() -> None:
    done = {app(0, "earlier"): 1000, app(1): 4}
    plan = plan_ranges(state(p0=(0, 3), p1=(0, 4), p2=(0, 1)), done.get)
    assert plan == [OffsetRange(TOPIC, ID, 0, 0, 3), OffsetRange(TOPIC, ID, 2, 0, 1)]


@pytest.mark.parametrize(("landed", "first"), [({}, 0), ({app(1): 0}, 0), ({app(1): 6}, 6)])
def test_what_retention_took_before_it_was_landed_is_an_error(landed: dict[str, int], first: int) -> None:
    with pytest.raises(LakeError) as caught:
        plan_ranges(state(p0=(0, 5), p1=(9, 20)), landed.get)
    assert caught.value.code == "KAFKA-RETENTION-PASSED"
    assert caught.value.coordinates == {"topic": TOPIC, "partition": 1, "first_lost": first, "last_lost": 8}


def test_also_where_nothing_is_left() -> None:
    with pytest.raises(LakeError) as caught:
        plan_ranges(state(p0=(9, 9)), {app(0): 6}.get)
    assert caught.value.coordinates["last_lost"] == 8
    assert plan_ranges(state(p0=(9, 9)), {app(0): 9}.get) == []


def test_a_loss_that_is_accepted_is_passed_over() -> None:
    done = {app(0): 2, app(1): 12}
    plan = plan_ranges(state(p0=(9, 20), p1=(9, 20)), done.get, accept_loss=True)
    assert plan == [OffsetRange(TOPIC, ID, 0, 9, 20), OffsetRange(TOPIC, ID, 1, 12, 20)]


@pytest.mark.parametrize("accept_loss", [False, True])
def test_a_log_that_ends_below_what_was_landed_is_never_accepted(accept_loss: bool) -> None:
    with pytest.raises(LakeError) as caught:
        plan_ranges(state(p0=(0, 5)), {app(0): 8}.get, accept_loss=accept_loss)
    assert caught.value.code == "KAFKA-LOG-TRUNCATED"
    assert caught.value.coordinates == {"topic": TOPIC, "partition": 0, "first_lost": 5, "last_lost": 7}


def test_a_limit_starves_no_partition() -> None:
    plan = plan_ranges(state(p0=(0, 1_000_000), p1=(0, 10), p2=(0, 500)), NOTHING.get, 100)
    assert {piece.partition: len(piece) for piece in plan} == {0: 45, 1: 10, 2: 45}
    assert all(piece.start == 0 for piece in plan)


@given(st.dictionaries(st.integers(0, 50), st.integers(0, 10_000), max_size=12), st.integers(0, 50_000))
def test_shares_add_up_and_are_fair(backlog: dict[int, int], limit: int) -> None:
    shares = share_out(backlog, limit)
    assert shares.keys() == backlog.keys()
    assert sum(shares.values()) == min(limit, sum(backlog.values()))
    assert all(0 <= shares[number] <= size for number, size in backlog.items())
    cut = [shares[number] for number, size in backlog.items() if shares[number] < size]
    if cut:
        assert max(shares.values()) <= min(cut) + 1, "nobody has more than one whose share was cut"


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**12), st.integers(0, 500)), max_size=5),
    st.integers(-1, 70),
)
def test_pieces_are_the_whole(spans: list[tuple[int, int, int]], messages: int) -> None:
    ranges = [OffsetRange(TOPIC, ID, number, start, start + size) for number, start, size in spans]
    pieces = split_ranges(ranges, messages)
    assert all(1 <= len(piece) <= max(1, messages) for piece in pieces)
    assert [(p.partition, offset) for p in pieces for offset in range(p.start, p.end)] == [
        (r.partition, offset) for r in ranges for offset in range(r.start, r.end)
    ]
    for whole in ranges:
        sizes = [len(p) for p in split_ranges([whole], messages)]
        assert not sizes or max(sizes) - min(sizes) <= 1


def test_an_app_id_says_which_partition_of_which_life() -> None:
    one = OffsetRange(TOPIC, ID, 3, 7, 9)
    assert one.app_id == f"land:{TOPIC}:{ID}:3"
    assert range_of_app_id(one.app_id, 7, 9) == one
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    "app_id", ["", "land:a:b", "land:a:b:c", "normalise:a:b:1", "land:a:b:1:2", "land:a:b:-1"]
)
def test_another_app_id_is_refused(app_id: str) -> None:
    with pytest.raises(LakeError) as caught:
        range_of_app_id(app_id, 0, 1)
    assert caught.value.code == "LAND-APP-ID"
