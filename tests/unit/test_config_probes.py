"""The keys of a health check come from the class of its probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.configs import SMALLEST, FullProbe, Nested, Port, TcpProbe, load_text, problems
from tcpbalance.config.pools import HealthConfig
from tcpbalance.config.quantities import Duration


class TestProbes:
    def health(self, keys: str) -> str:
        return f"{SMALLEST}[pools.db.health]\n{keys}\n"

    def test_every_type_of_key(self, tmp_path: Path) -> None:
        text = self.health(
            'check = "full"\ninterval = 3\ntext = "x"\nargv = ["a", "b"]\nnumber = 2\nreal = 3\nflag = true\n'
            'maybe = "m"\nchoice = "b"\nport = "port 5"\nnested.depth = 4'
        )
        health = load_text(tmp_path, text).pools["db"].health
        assert health is not None
        assert (health.check, health.interval) == ("full", Duration(3))
        assert health.probe == FullProbe(
            text="x",
            argv=("a", "b"),
            number=2,
            real=3.0,
            flag=True,
            maybe="m",
            choice="b",
            port=Port(5),
            nested=Nested(4),
        )

    def test_the_default_check(self, tmp_path: Path) -> None:
        health = load_text(tmp_path, self.health("")).pools["db"].health
        assert health == HealthConfig(probe=TcpProbe())

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("text = 1", "text: must be a string, got 1"),
            ('argv = "ab"', 'argv: must be a list, got "ab"'),
            ('argv = ["a", 1]', "argv[1]: must be a string, got 1"),
            ("number = true", "number: must be a whole number, got true"),
            ("number = 1.0", "number: must be a whole number, got 1.0"),
            ('real = "1"', 'real: must be a number, got "1"'),
            ("real = nan", "real: must be a number, got nan"),
            ("flag = 1", "flag: must be true or false, got 1"),
            ("maybe = []", "maybe: must be a string, got an empty list"),
            ('choice = "c"', 'choice: must be one of "a" or "b", got "c"'),
            ("port = 80", "port: must be a port such as 'port 5'"),
            ('nested.depth = "x"', 'nested.depth: must be a whole number, got "x"'),
            ("nested.dept = 1", 'nested.dept: unknown key, did you mean "depth"?'),
            ("txet = 1", 'txet: unknown key, did you mean "text"?'),
            ("intervall = 1", 'intervall: unknown key, did you mean "interval"?'),
            (
                'probe = "x"',
                (
                    'probe: unknown key, known keys are "check", "interval", "timeout", "rise", '
                    '"fall", "initial", "down_interval", "on_down", "port", "address", '
                    '"send_proxy_protocol", "text", "argv", "number", "real", "flag", "maybe", "choice" and '
                    '"nested"'
                ),
            ),
        ],
    )
    def test_each_mistake_is_at_its_key(self, tmp_path: Path, key: str, message: str) -> None:
        needed = "" if key.startswith("text") else 'text = "x"'
        (found,) = problems(tmp_path, self.health(f'check = "full"\n{needed}\n{key}'))
        assert found == f"10: pools.db.health.{message}"

    def test_mistakes_in_both_halves_at_once(self, tmp_path: Path) -> None:
        text = self.health('rise = 0\nnumber = "x"\ntext = ""\ncheck = "full"\nnothing = 1')
        found = problems(tmp_path, text)
        assert [line.split(": ")[1] for line in found] == [
            f"pools.db.health.{key}" for key in ("rise", "number", "text", "nothing")
        ]

    def test_a_required_key(self, tmp_path: Path) -> None:
        assert problems(tmp_path, self.health('check = "full"')) == ["7: pools.db.health.text: is required"]

    def test_a_check_that_nobody_knows(self, tmp_path: Path) -> None:
        text = self.health('check = "ful"\ntext = 1\nnothing = 2\ninterval = "x"')
        found = problems(tmp_path, text)
        assert (
            found[0]
            == '8: pools.db.health.check: must be one of "tcp" or "full", got "ful", did you mean "full"?'
        )
        assert found[1].startswith("10: pools.db.health.nothing: unknown key")
        assert found[2].startswith("11: pools.db.health.interval: must be a duration")
        assert len(found) == 3

    def test_a_key_of_another_check(self, tmp_path: Path) -> None:
        assert problems(tmp_path, self.health('text = "x"')) == [
            '8: pools.db.health.text: unknown key for check = "tcp", it goes with check = "full"'
        ]

    def test_a_check_that_is_no_string(self, tmp_path: Path) -> None:
        assert problems(tmp_path, self.health("check = []")) == [
            "8: pools.db.health.check: must be a string, got an empty list"
        ]
