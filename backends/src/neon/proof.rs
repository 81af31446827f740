//! Values that prove what instructions for products of bytes the CPU has; only `detect` makes them.

/// `smull` and `smlal`, which every 64-bit ARM has: products in 16 bits, pairs added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widening;

/// `sdot`: 4 products added up in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdot(pub(super) ());

/// `smmla`: two rows times two tokens, 8 products each, added up in 32 bits. Tokens alone are
/// multiplied with `sdot`, which any CPU with `smmla` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smmla(pub(super) Sdot);
