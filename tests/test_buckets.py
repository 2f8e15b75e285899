"""A bucket knows what was granted in every window that ends now."""

import pytest

from stagerunner.buckets import PARTS
from stagerunner.buckets import Bucket
from stagerunner.buckets import boot_id

#: Ten tokens in 128 seconds: a part is a second, and it is the end of the 1000th.
EMPTY = Bucket('api', 10, 128_000_000, 1_000_500_000, ())


def test_an_empty_bucket_gives_everything_at_once():
    assert EMPTY.wait_s(10) == 0


def test_a_grant_counts_as_made_at_the_end_of_the_next_part():
    assert EMPTY.after(3).entries == ((1_002_000_000, 3),)
    assert EMPTY._replace(now_us=1_000_000_000).after(3).entries == ((1_002_000_000, 3),)


def test_grants_of_one_part_are_one_entry():
    assert EMPTY.after(3).after(4).entries == ((1_002_000_000, 7),)


def test_the_wait_is_until_the_oldest_grants_that_matter_do_not_count_any_more():
    bucket = EMPTY.with_entries([(900_000_000, 4), (950_000_000, 5)])

    assert [round(bucket.wait_s(tokens), 3) for tokens in (1, 2, 5, 6, 10)] == [
        0, 27.5, 27.5, 77.5, 77.5]


def test_what_is_a_whole_window_old_does_not_count():
    entries = [(1_000_500_000 - 128_000_000 + offset, 1) for offset in (-1, 0, 1)]

    assert EMPTY.with_entries(entries).entries == (entries[2],)


def test_what_lies_in_the_future_counts_as_made_now_and_is_not_lost():
    bucket = EMPTY.with_entries([(10 ** 15, 4), (10 ** 16, 5), (1_002_000_000, 1)])

    assert bucket.entries == ((1_002_000_000, 10),)


@pytest.mark.parametrize('tokens', [1, 10])
def test_more_than_the_rate_in_the_log_is_waited_for_too(tokens):
    """The rate was lowered: what is beyond it has to leave the window first."""
    bucket = EMPTY.with_entries([(900_000_000, 40), (990_000_000, 9)])

    assert round(bucket.wait_s(tokens), 3) == {1: 27.5, 10: 117.5}[tokens]


def test_the_shortest_window_has_parts_of_a_microsecond():
    bucket = EMPTY._replace(per_us=1)

    assert PARTS > 1 and 0 < bucket.after(10).wait_s(1) < 0.00001


@pytest.mark.parametrize('path', ['nowhere', '.'])
def test_where_nothing_tells_the_boot_its_id_is_empty(path):
    assert boot_id(path) == ''
