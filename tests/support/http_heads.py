"""Heads as hypothesis makes them: valid ones from their parts, and spoiled ones."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)
VALUES = st.text([*map(chr, range(0x20, 0x7F)), "\t", "\x80", "\xff"], max_size=30).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
PATHS = st.text("/abc.%20~;:@&=+$,!*'()|{}^`<>\"\\[]-_", max_size=20).map(lambda text: b"/" + text.encode())
HOSTS = st.sampled_from([b"a.example", b"A.example:80", b"192.0.2.1", b"[2001:db8::1]:8080", b"_x", b"a."])
SPACES = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])

_SPECIAL = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"proxy-connection",
    b"keep-alive",
    b"te",
    b"upgrade",
    b"expect",
    b"http2-settings",
    b"proxy-authorization",
    b"proxy",
    b"forwarded",
    b"x-real-ip",
}


class Parts(NamedTuple):
    """What a request is made of."""

    method: bytes
    target: bytes
    host: bytes
    fields: list[tuple[bytes, bytes]]
    body: tuple[bytes, bytes]
    spaces: list[bytes]

    def head(self) -> bytes:
        lines = [(b"Host", self.host), *self.fields, *([self.body] if self.body[0] else [])]
        spaces = [*self.spaces, *[b" "] * 2 * len(lines)]
        return b"".join(
            (
                b"%b %b HTTP/1.1\r\n" % (self.method, self.target),
                *(
                    name + b":" + spaces[2 * place] + value + spaces[2 * place + 1] + b"\r\n"
                    for place, (name, value) in enumerate(lines)
                ),
                b"\r\n",
            )
        )


FIELDS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in _SPECIAL), VALUES),
    max_size=6,
)

REQUESTS = st.builds(
    Parts,
    method=TOKENS.filter(lambda method: method != b"CONNECT"),
    target=PATHS,
    host=HOSTS,
    fields=FIELDS,
    body=st.sampled_from([(b"", b""), (b"content-Length", b"17"), (b"Transfer-encoding", b"Chunked")]),
    spaces=st.lists(SPACES, max_size=8),
)

SPOILS = st.sampled_from(
    [
        *(bytes((byte,)) for byte in b" \t\r\n:\x00\x0b,;=#/@-_x0\x7f\x80\xff"),
        b"\r\n",
        b"\r\n ",
        b"  ",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"http://",
        b"HTTP/1.0",
        b"HTTP/2.0",
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A head with something put in, taken out or put over, once or twice."""
    head = draw(REQUESTS).head()
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(head)))
        gone = draw(st.integers(0, 3))
        head = head[:at] + draw(st.just(b"") | SPOILS) + head[at + gone :]
    return head
