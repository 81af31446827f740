//! Numbers that instructions are checked with.

/// Bits at the borders of types, and others.
pub const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    64,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x8899_AABB_CCDD_EEFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFE,
    0xFFFF_FFFF_FFFF_FFFF,
];
