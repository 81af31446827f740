//! What several tests share.

pub mod compare;
pub mod goldens;
pub mod models;
pub mod shared;
pub mod strings;
