"""Operations that deserve more than one implementation: one folder each.

A folder's `__init__` is the door that validates and chooses, `reference` the definition that is
never optimised, `xla` the fast form in plain JAX, `cases` the shapes that tests and benchmarks share.
"""
