//! What several tests share.

pub mod aligned;
pub mod compare;
pub mod goldens;
pub mod models;
pub mod rescale;
pub mod shared;
pub mod strings;
pub mod command;
pub mod hub_server;
