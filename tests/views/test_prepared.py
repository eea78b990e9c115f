"""Answers that are kept: few enough bytes, the ones used last, and none before its time."""

from views.prepared import Prepared, PreparedAnswers


def answer(size: int, since: float = 0) -> Prepared:
    return Prepared(200, "200 OK", "", bytes(size), size, since)


def test_what_was_not_used_for_longest_makes_room() -> None:
    answers = PreparedAnswers(kept=40_000)
    for name in "abc":
        answers.keep((name,), answer(7_000))
    assert answers.get(("a",), 1)
    answers.keep(("d",), answer(7_000))
    assert [name for name in "abcd" if answers.get((name,), 1)] == ["a", "c", "d"]


def test_an_answer_that_is_kept_again_counts_once() -> None:
    answers = PreparedAnswers(kept=40_000)
    for _ in range(10):
        answers.keep(("a",), answer(7_000))
        answers.keep(("b",), answer(7_000))
    assert answers.get(("a",), 1)
    assert answers.get(("b",), 1)


def test_one_that_is_too_large_leaves_nothing() -> None:
    answers = PreparedAnswers(kept=9_000)
    answers.keep(("a",), answer(5_000))
    assert answers.get(("a",), 1) is None


def test_no_answer_is_sent_before_the_file_was_made() -> None:
    answers = PreparedAnswers()
    answers.keep(("a",), answer(1, since=100.0))
    assert answers.get(("a",), 99.9) is None
    assert answers.get(("a",), 100.0)
