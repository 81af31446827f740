//! How the documents of a stream follow one another.

use serde_json::Value;
use std::fmt::Write;

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events, `[DONE]` behind the last one.
    Events,
    /// Server-sent events with the names that the documents have as their `type`.
    NamedEvents,
    /// Documents, each on a line of its own.
    Lines,
}

impl Framing {
    /// The type of a stream's content.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events | Self::NamedEvents => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// The text of documents.
    pub fn text(self, documents: &[Value]) -> String {
        let mut text = String::new();
        for document in documents {
            let written = match self {
                Self::Events => write!(text, "data: {document}\n\n"),
                Self::NamedEvents => {
                    let name = document["type"].as_str().expect("an event has a type");
                    write!(text, "event: {name}\ndata: {document}\n\n")
                }
                Self::Lines => writeln!(text, "{document}"),
            };
            written.expect("strings take everything");
        }
        text
    }

    /// The text behind all documents.
    pub fn end(self) -> &'static str {
        match self {
            Self::Events => "data: [DONE]\n\n",
            Self::NamedEvents | Self::Lines => "",
        }
    }
}
