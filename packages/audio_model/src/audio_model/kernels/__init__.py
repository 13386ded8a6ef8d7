"""Operations with several implementations: one folder each.

A folder's `__init__` has the public function, which validates and dispatches; `reference` is the definition, never
optimised; `xla` is the fast form in plain JAX; `cases` are the shapes that tests and benchmarks share.

What has no folder has none because a kernel would not pay; the figures stand in `benchmarks/results`:

- RMSNorm, with or without the residual: XLA writes the sum with the product before it and reads the norm into the
  products after it. A kernel between them moves 1.5 % more bytes in a whole block of width 512, as many at 1,024, and
  1.7 % fewer at 2,048, 0.6 % of the block's estimated time.
- The gated activation: XLA reads gate and up once and writes their product once, which is the least there is.
- Cautious AdamC: the mean of its mask needs all of a gradient before any of it is used, two passes whoever makes them.
"""
