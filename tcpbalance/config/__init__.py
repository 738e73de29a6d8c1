"""What the operator wrote: value types, frozen models, and the reader that turns a TOML file into them.

A type of values, as `quantities`, `addresses`, `names` and `paths` have them, has ``parse``, which takes
what TOML gave and raises ValueError with a message that says what to do, and ``str()``, which gives the form
that the operator writes.
"""
