//! The OpenAI protocol.

pub mod chat;
pub mod completion;
pub mod embeddings;
mod head;
mod items;
mod likely;
mod messages;
pub mod responses;
mod steps;

pub use head::now;
