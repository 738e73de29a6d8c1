"""HTTP/1.1 as bytes: heads read, bodies framed, heads written. No socket, no clock, no state of a connection.

What other packages use, by module:

``head_reader``
    ``RequestReader(limits).read(data)`` and ``ResponseReader(limits).read(data)`` give a ``RequestHead`` or a
    ``ResponseHead`` once one has come whole, else None. ``data`` is everything since the beginning of the
    head, so that the body begins at ``head.size``. A reader serves one head after another.
``head``, ``usual_head``
    A head has
    ``method`` and ``target``, or ``status`` and ``reason``; ``version`` (``b"1.1"`` or ``b"1.0"``),
    ``special`` (values of the fields that a proxy acts on, by lower-case name), ``options`` (what Connection
    lists), ``rest`` (the other lines, as they came), ``fields`` (all as name, lower-case name, value) and
    ``values(name)``.
``diagnose``
    ``HeadLimits(size, lines)``, and what readers say of bytes that are no head.
``errors``
    ``BadRequest`` and ``BadResponse``: ``status`` of the response that the client gets, ``cause`` for the log
    (``Cause``), the message as text. The connection that such bytes came on is closed.
``framing``
    ``request_framing(head)`` and ``response_framing(head, method)`` give a ``Framing``: ``body`` is a
    ``Body`` (NONE, LENGTH, CHUNKED, UNTIL_CLOSE, TUNNEL), ``length`` what Content-Length says. NO_BODY,
    CHUNKED, UNTIL_CLOSE, TUNNEL are ready ones.
``chunks``
    ``ChunkWalker(fault).feed(data)`` gives the spans of ``data`` that are body; ``left``, ``body``, ``done``,
    ``consumed`` and ``trailers`` say the rest; ``passed(n)`` counts what was spliced of the chunk at hand.
    ``one_chunk(data, spans)``, ``chunk_head(size)`` and ``last_chunk(trailers)`` write chunks anew.
``target``
    ``read_target(head)`` gives a ``RequestTarget``: ``form``, ``authority`` (``text``, ``host``, ``port``),
    ``path``, ``upstream`` (what a backend gets). ``without_prefix(target, prefix)`` gives the target for a
    route that strips one; ``read_authority(text)`` a host.
``routing_path``
    ``routing_path(path)`` gives the copy of a path that routes look at, and whether it is ambiguous.
``fields``
    ``keeps_alive(head)``, ``upgrade(head)``, ``expects_continue(head)``, ``takes_trailers(head)``.
``forwarded``
    ``ForwardedClient(scheme, port, hops)``: one a connection; behind a trusted peer
    ``through_x_forwarded(head.special, client, trusted)`` or ``through_forwarded`` gives that of a request.
    ``ForwardedWriter(send)`` and ``via(version)`` write.
``rewrite``
    ``RequestRewriter(ForwardedWriter(...), FieldEdits(set_fields, remove)).write(head, target, framing,
    client, ...)`` and ``ResponseRewriter(FieldEdits(...)).write(head, framing, version=, keep_alive=, date=,
    ...)`` give the bytes of a head. One object serves all requests of a route. ``extra=`` takes more lines,
    such as ``X-Request-Id``; ``edits.removing(b"X-Request-Id")`` gives edits that remove more.
``cookie``
    ``CookieReader(name).read(head)`` and ``set_cookie(name, value, ...)``.
``status``, ``dates``
    ``reason(status)``, ``http_date(seconds)``.
"""
