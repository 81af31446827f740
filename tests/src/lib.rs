//! What several tests share.

pub mod aligned;
pub mod c;
pub mod command;
pub mod compare;
pub mod goldens;
pub mod hub_server;
pub mod models;
pub mod rescale;
pub mod shared;
pub mod skip;
pub mod strings;
pub mod templates;
pub mod tiers;
