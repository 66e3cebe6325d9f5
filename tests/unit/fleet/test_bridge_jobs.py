from hypothesis import given
from hypothesis import strategies as st

from fleet.bridge.jobs import JobBook, JobState
from fleet.bridge.protocol import Answer, JobOffer


def offer(job_id="J"):
    return JobOffer(job_id=job_id, dispatch_id="D", room="r", room_sid="S")


def yes(job_id="J"):
    return Answer(job_id=job_id, available=True)


def no(job_id="J"):
    return Answer(job_id=job_id, available=False)


def test_an_offer_repeated_gets_the_same_answer():
    book = JobBook()
    assert book.offered(offer()) is None
    assert book.offered(offer()).answer is None
    assert book.held(yes())
    assert book.offered(offer()).answer == yes()


def test_an_assignment_counts_once_and_only_for_what_is_held():
    book = JobBook()
    assert not book.assigned("J")
    book.offered(offer())
    assert not book.assigned("J")
    book.held(yes())
    assert book.assigned("J")
    assert not book.assigned("J")
    assert not book.not_assigned("J")


def test_a_late_assignment_begins_nothing():
    book = JobBook()
    book.offered(offer())
    book.held(yes())
    assert book.not_assigned("J")
    assert not book.assigned("J")
    assert book.offered(offer()).answer == no()


def test_only_so_many_of_those_over_are_remembered():
    book = JobBook(most_over=2)
    for name in ("a", "b", "c"):
        book.offered(offer(name))
        book.declined(no(name))
    assert book.get("a") is None
    assert book.get("c").state is JobState.OVER


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["offered", "held", "declined", "assigned", "not_assigned", "over"]),
            st.sampled_from("abc"),
        ),
        max_size=60,
    )
)
def test_in_any_order_a_job_begins_at_most_once_and_each_hold_ends_once(script):
    book = JobBook()
    seen = {"held": [], "assigned": [], "not_assigned": [], "over": []}
    for what, job_id in script:
        if what == "offered":
            book.offered(offer(job_id))
            continue
        argument = {"held": yes(job_id), "declined": no(job_id)}.get(what, job_id)
        if getattr(book, what)(argument) and what in seen:
            seen[what].append(job_id)
    for job_id in "abc":
        begun, dropped = seen["assigned"].count(job_id), seen["not_assigned"].count(job_id)
        assert begun + dropped <= seen["held"].count(job_id) <= 1
        assert seen["over"].count(job_id) <= begun
