"""Who waits, and whose turn is next."""

from __future__ import annotations

from tcpbalance.pool.fair_queue import FairQueue

ANNE, BOB, CAROL = (bytes((192, 0, 2, host)) for host in (1, 2, 3))


class Waiting:
    """Somebody in a queue, with a name to tell them by."""

    def __init__(self, client: bytes | None, name: str = "") -> None:
        self.client = client
        self.name = name
        self.gave_way = False

    def its_turn(self) -> None:
        raise AssertionError("the queue tells nobody of its turn")

    def look_soon(self) -> None:
        raise AssertionError

    def displaced(self) -> None:
        self.gave_way = True


def a_queue(most: int, *waiting: Waiting) -> FairQueue:
    queue = FairQueue(most)
    for waiter in waiting:
        assert queue.join(waiter)
    return queue


def line(client: bytes | None, names: str) -> list[Waiting]:
    return [Waiting(client, name) for name in names]


def served(queue: FairQueue) -> str:
    """The names of all that wait, in the order of their turns."""
    names = ""
    while waiter := queue.take(lambda _: True):
        assert isinstance(waiter, Waiting)
        names += waiter.name
    return names


def test_one_client_is_served_in_the_order_in_which_it_came() -> None:
    assert served(a_queue(9, *line(ANNE, "abc"))) == "abc"


def test_clients_take_turns() -> None:
    assert served(a_queue(9, *line(ANNE, "abcd"), *line(BOB, "xy"), *line(CAROL, "1"))) == "ax1bycd"


def test_who_was_served_comes_after_those_who_were_not() -> None:
    queue = a_queue(9, *line(ANNE, "ab"), *line(BOB, "x"))
    first = queue.take(lambda _: True)
    assert isinstance(first, Waiting)
    assert first.name == "a"
    queue.join(Waiting(CAROL, "1"))
    assert served(queue) == "xb1"


def test_a_thousand_of_one_delay_the_first_of_another_by_one() -> None:
    queue = a_queue(2000, *(Waiting(ANNE, "a") for _ in range(1000)), Waiting(BOB, "x"))
    assert served(queue)[:2] == "ax"


def test_ipv6_clients_are_networks_of_64_bits() -> None:
    one, same, other = (
        bytes.fromhex(f"20010db8{net}" + "0" * 15 + last)
        for net, last in (("00000001", "1"), ("00000001", "2"), ("00000002", "1"))
    )
    assert served(a_queue(9, Waiting(one, "a"), Waiting(same, "b"), Waiting(other, "x"))) == "axb"


def test_those_without_an_address_stand_in_one_line() -> None:
    assert served(a_queue(9, *line(None, "ab"), *line(ANNE, "x"))) == "axb"


def test_who_cannot_be_served_keeps_the_place() -> None:
    queue = a_queue(9, *line(ANNE, "ab"), *line(BOB, "x"))
    waiter = queue.take(lambda client: client == BOB)
    assert isinstance(waiter, Waiting)
    assert waiter.name == "x"
    assert queue.take(lambda client: client == BOB) is None
    assert served(queue) == "ab"


def test_who_leaves_is_not_served() -> None:
    anne, bob = Waiting(ANNE, "a"), Waiting(BOB, "x")
    queue = a_queue(9, anne, bob)
    assert (anne in queue, len(queue)) == (True, 2)
    queue.leave(anne)
    queue.leave(anne)
    assert (anne in queue, len(queue)) == (False, 1)
    assert served(queue) == "x"


def test_a_full_queue_takes_nobody_of_the_client_that_fills_it() -> None:
    queue = a_queue(2, *line(ANNE, "ab"))
    assert not queue.join(Waiting(ANNE, "c"))
    assert served(queue) == "ab"


def test_the_last_of_the_longest_line_gives_way_to_a_client_that_has_fewer() -> None:
    waiting = line(ANNE, "abc")
    queue = a_queue(3, *waiting)
    assert queue.join(Waiting(BOB, "x"))
    assert [waiter.gave_way for waiter in waiting] == [False, False, True]
    assert (len(queue), served(queue)) == (3, "axb")


def test_nobody_gives_way_where_that_would_only_turn_the_tables() -> None:
    queue = a_queue(3, *line(ANNE, "ab"), *line(BOB, "x"))
    assert not queue.join(Waiting(BOB, "y"))
    queue = a_queue(2, *line(ANNE, "a"), *line(BOB, "x"))
    assert not queue.join(Waiting(CAROL, "1"))


def test_one_that_is_put_back_is_the_next_again_however_many_wait() -> None:
    queue = a_queue(4, *line(ANNE, "ab"), *line(BOB, "xy"))
    first = queue.take(lambda _: True)
    assert first is not None
    assert queue.join(Waiting(CAROL, "1"))
    queue.put_back(first)
    assert len(queue) == 5
    assert served(queue) == "ax1by"
