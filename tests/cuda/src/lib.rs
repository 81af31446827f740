//! A stand-in for NVIDIA's driver library `libcuda.so.1`: kernels run in an interpreter of PTX.
//!
//! With it, tests of a CUDA engine run on machines without a GPU, through the same loader and the
//! same calls as on a board. It also sees what a GPU does not tell: accesses outside of
//! allocations, races, barriers that cannot complete, and how well memory is used.
//!
//! As a shared library it exports the driver's `cu*` functions ([`driver`]) and functions for
//! tests, `kinglet_stand_in_*` ([`control`]). Its soname is `libcuda.so`: once a process has opened
//! it by its path, asking for `libcuda.so` gives the same library. The Rust library has the same
//! functions, with a state of its own.
//!
//! What it cannot show: speed, the order of memory accesses that hardware may change, errors of
//! NVIDIA's compiler, and caches that are not coherent. Section numbers in comments are those of
//! NVIDIA's "Parallel Thread Execution ISA", version 8.7.

pub mod board;
pub mod control;
pub mod counters;
pub mod driver;
pub mod edges;
pub mod exec;
pub mod fault;
pub mod memory;
pub mod ptx;
pub mod races;
mod state;
