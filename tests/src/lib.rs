//! .

pub mod shared;
pub mod strings;
pub mod command;
pub mod hub_server;
