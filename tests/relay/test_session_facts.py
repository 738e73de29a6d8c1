"""What an open session says of itself, in each of its phases and on each data path."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from support.scene import ONE, BareScene
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.wire.proxy_protocol import InetAddress, encode_v1

CLIENT = InetAddress("203.0.113.9", 51111)


def only_facts(scene: Any) -> SessionFacts:
    (session,) = scene.frontend.registry.sessions
    facts: SessionFacts = session.facts()
    return facts


def test_of_one_that_relays_all_is_known(make_scene: Any) -> None:
    scene = make_scene(settings={"idle_timeout": 100.0})
    _, backend = scene.joined(early=b"question")
    scene.advance(3.0)
    backend.send(b"answer")
    scene.run()
    scene.advance(2.0)
    facts = only_facts(scene)
    assert (facts.pool, facts.backend, facts.state) == (
        scene.pool.name,
        scene.pool.backends[0].name,
        "relaying",
    )
    assert (facts.client_bytes, facts.backend_bytes) == (8, 6)
    assert facts.age == 5.0
    # Activity is noted by a clock with a resolution of a second.
    assert 2.0 <= facts.idle <= 3.0
    assert (facts.proxy, facts.server_name, facts.tls) == (None, None, None)


def test_none_is_idle_for_longer_than_it_is_there(make_scene: Any) -> None:
    """What notes activity is behind by up to a second."""
    scene = make_scene(settings={"idle_timeout": 100.0})
    scene.joined()
    scene.advance(10.5)
    scene.connect()
    scene.run()
    assert min(session.facts().idle for session in scene.frontend.registry.sessions) == 0.0


def test_bytes_that_go_past_the_session_are_known(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(early=b"question")
    for _ in range(3):
        backend.send(b"answer")
        scene.run()
        client.send(b"next")
        scene.run()
    assert (only_facts(scene).client_bytes, only_facts(scene).backend_bytes) == (20, 18)


def test_one_that_dials_has_no_backend(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    scene.connect()
    scene.run()
    facts = only_facts(scene)
    assert (facts.state, facts.pool, facts.backend) == ("dialling", scene.pool.name, None)


def test_one_that_waits_for_a_place_is_queued(make_scene: Any) -> None:
    members = [Backend(ONE, max_connections=1)]
    scene = make_scene(members=members, queue=1)
    scene.joined()
    scene.connect()
    scene.run()
    states = sorted(session.facts().state for session in scene.frontend.registry.sessions)
    assert states == ["queued", "relaying"]


def test_behind_a_proxy_the_client_is_the_one_that_it_names(make_scene: Any) -> None:
    scene = make_scene(
        preread=lambda _: PrereadSettings(NetworkSet([ip_network("198.51.100.0/24")]), timeout=5.0)
    )
    client = scene.connect()
    before = only_facts(scene)
    assert (before.state, before.pool, before.proxy) == ("preread", None, None)
    client.send(encode_v1(CLIENT, InetAddress("192.0.2.1", 443)))
    scene.run()
    facts = only_facts(scene)
    assert (str(facts.client), str(facts.proxy)) == ("203.0.113.9:51111", str(before.client))


def test_one_that_is_bare_says_the_same_as_one_that_is_made_whole() -> None:
    scene = BareScene()
    scene.joined(early=b"question")
    (session,) = scene.frontend.registry.sessions
    bare: Any = session
    assert bare.is_bare
    before = session.facts()
    bare._equip()
    assert not bare.is_bare
    assert before == session.facts()


def test_an_operator_ends_one_and_both_sides_see_that(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined(early=b"question")
    (session,) = scene.frontend.registry.sessions
    session.end(EndReason.ENDED_BY_OPERATOR)
    scene.run()
    assert (client.saw, backend.saw, scene.ended) == ("reset", "reset", "ended_by_operator")
