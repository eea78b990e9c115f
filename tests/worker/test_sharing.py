"""Workers share who comes: none takes all, and none leaves a client to those who do not come."""

from collections.abc import Sequence

import pytest

from worker.sharing import LEFT_FOR, LONG, MOST_AT_A_TIME, SEATS, Board, Seat

SOON = 2 * LEFT_FOR


def seated(*clients: int) -> list[Seat]:
    """Return the seats of workers with so many clients."""
    board = Board()
    seats = [board.seat() for _ in clients]
    for seat, number in zip(seats, clients, strict=True):
        seat.tell(number)
    return seats


@pytest.mark.parametrize(
    ("mine", "others", "takes"),
    (
        (0, (0,), True),
        (1, (0,), False),
        (1, (1,), True),
        (1, (5, 0), False),
        (9, (8,), True),
        (10, (8,), False),
        (180, (160,), True),
        (1000, (), True),
    ),
)
def test_a_worker_with_more_than_another_leaves_the_next(
    mine: int, others: Sequence[int], takes: bool
) -> None:
    assert seated(mine, *others)[0].takes(mine, 100.0) is takes


def test_a_client_that_nobody_else_takes_is_taken_after_a_moment() -> None:
    mine, _ = seated(5, 0)
    assert not mine.takes(5, 100.0)
    assert mine.takes(5, 100.0 + SOON)


def test_where_the_others_never_come_ever_more_are_taken_at_a_time() -> None:
    mine, _ = seated(5, 0)
    now, taken = 100.0, 0
    runs: list[int] = []
    while len(runs) < 8:
        if mine.takes(5, now):
            taken += 1
        else:
            runs.append(taken)
            taken = 0
            now += SOON
    assert runs[1:] == [1, 2, 4, 8, *[MOST_AT_A_TIME] * 3]


def test_what_was_left_long_ago_counts_for_nothing() -> None:
    mine, _ = seated(5, 0)
    assert not mine.takes(5, 100.0)
    assert not mine.takes(5, 100.0 + 2 * LONG)


def test_a_worker_that_ends_or_has_not_begun_is_not_waited_for() -> None:
    board = Board()
    mine, ending, ended, _not_begun = (board.seat() for _ in range(4))
    ending.close()
    ended.free()
    assert mine.takes(100, 100.0)


def test_a_seat_that_is_given_back_is_the_next_workers() -> None:
    board = Board()
    seats = [board.seat() for _ in range(SEATS)]
    without = board.seat()
    without.tell(7)
    assert without.takes(7, 100.0)
    seats[3].free()
    board.seat().tell(0)
    seats[0].tell(5)
    assert not seats[0].takes(5, 100.0)
