"""Queue of launches: which host does what, and what becomes of the cells of one that is lost."""

from __future__ import annotations

import pytest

from bench.sweep_stubs import PROTOCOL, study
from sparsemark.records.measurement import MEASURED, Measurement
from sparsemark.study.executor import Progress, Turn
from sparsemark.study.host_classes import HERE, HostClass
from sparsemark.study.sweep.queue import ATTEMPTS, LaunchQueue


def progresses(count, launches=2, where=HERE):
    return [Progress(cell, where, None, [PROTOCOL], launches) for cell in study(count).cells]


def turns(cells, launches=2):
    return [Turn(f"{progress.cell.name} {number}", progress) for number in range(launches) for progress in cells]


def finish(queue, turn, host):
    turn.progress.launches.append(Measurement("stub", MEASURED, host=host))
    queue.done(turn, failed=False)


def work(queue, hosts, most=99):
    """Let hosts take turns until nothing is left; return which host did which cell, in order."""
    done = []
    while queue and len(done) < most:
        for host in hosts:
            turn = queue.take(host, [HERE])
            if turn is not None:
                finish(queue, turn, host)
                done.append((host, turn.progress))
    return done


def test_all_launches_of_a_cell_are_on_one_host_and_every_cell_begins_before_a_second_launch():
    cells = progresses(5)
    done = work(LaunchQueue(turns(cells)), ("a", "b"))
    assert len(done) == 10
    assert {progress for _, progress in done[:5]} == set(cells)
    for progress in cells:
        assert len({host for host, one in done if one is progress}) == 1


def test_a_cell_with_launches_of_an_earlier_run_goes_on_where_they_were():
    cells = progresses(2)
    cells[0].launches.append(Measurement("stub", MEASURED, host="b"))
    queue = LaunchQueue([Turn("again", cells[0]), *turns(cells[1:])])
    assert queue.take("a", [HERE]).progress is cells[1]
    assert queue.take("a", [HERE]) is None
    assert queue.take("b", [HERE]).progress is cells[0]


def test_a_host_takes_cells_of_its_classes_alone():
    other = HostClass("other")
    queue = LaunchQueue(turns(progresses(1, where=other)))
    assert queue.take("a", [HERE]) is None
    assert queue.take("a", [HERE, other]) is not None


def test_a_failed_cell_has_no_further_launches():
    queue = LaunchQueue(turns(progresses(1)))
    queue.done(queue.take("a", [HERE]), failed=True)
    assert not queue


def test_the_first_launch_of_a_lost_host_is_done_by_another_one():
    queue = LaunchQueue(turns(progresses(1)))
    turn = queue.take("a", [HERE])
    assert queue.lose("a", turn) is None
    assert work(queue, ["b"]) == [("b", turn.progress)] * 2


def test_a_cell_with_launches_waits_for_its_host_and_begins_again_once_that_is_given_up():
    (progress,) = progresses(1)
    queue = LaunchQueue(turns([progress]))
    finish(queue, queue.take("a", [HERE]), "a")
    queue.lose("a", queue.take("a", [HERE]))
    assert queue.take("b", [HERE]) is None
    assert queue.hosts() == {"a"}
    queue.leave("a")
    assert progress.launches == []
    assert work(queue, ["a", "b"]) == [("a", progress)] * 2, "all of them, and each once"


def test_the_cell_at_work_is_given_up_after_so_many_hosts_and_what_was_at_hand_is_not():
    blamed, other = progresses(2, launches=1)
    queue = LaunchQueue(turns([blamed, other], launches=1))
    for attempt in range(ATTEMPTS):
        first, second = (queue.take("a", [HERE]) for _ in range(2))
        assert first.progress is blamed
        assert second.progress is other
        assert queue.lose("a", first) is (blamed if attempt + 1 == ATTEMPTS else None)
    assert work(queue, ["a"]) == [("a", other)]


def test_a_class_without_hosts_is_given_up():
    cells = progresses(3)
    queue = LaunchQueue(turns(cells))
    assert queue.classes() == {HERE}
    assert set(queue.give_up(HERE)) == set(cells)
    assert not queue


@pytest.mark.parametrize("hosts", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_nothing_is_lost_or_done_twice(hosts):
    cells = progresses(7, launches=3)
    done = work(LaunchQueue(turns(cells, launches=3)), hosts)
    assert all(sum(one is progress for _, one in done) == 3 for progress in cells)
