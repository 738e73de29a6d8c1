"""What the operator wrote: value types, frozen models, and the reader that turns a TOML file into them."""
