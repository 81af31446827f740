//! What several tests share.

pub mod affinity;
pub mod aligned;
pub mod browser;
pub mod c;
pub mod command;
pub mod compare;
#[cfg(feature = "references")]
pub mod devices;
pub mod disk;
pub mod goldens;
pub mod hostile_file;
pub mod hub_server;
pub mod keys;
pub mod models;
pub mod observe;
pub mod proxy;
pub mod rescale;
pub mod server;
pub mod shared;
pub mod skip;
#[cfg(feature = "references")]
pub mod stand_in;
pub mod strings;
pub mod templates;
pub mod tiers;
