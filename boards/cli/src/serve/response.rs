//! Answers as bytes: whole documents, and streams.

use super::failure::{Failure, Protocol};
use super::room::Held;
use super::ticket::Ticket;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The type of documents.
pub const JSON: &str = "application/json";

/// An answer.
pub type Response = hyper::Response<Content>;

/// The body of an answer.
pub enum Content {
    /// All of it, once.
    Whole(Option<Bytes>),
    /// Text, as the engine makes it. Dropping it stops the engine's work.
    Stream(Option<Box<Ticket>>),
}

impl Content {
    /// A whole body.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let place = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(place) => place,
        };
        loop {
            let Some(ticket) = place else { return Poll::Ready(None) };
            let text = match std::task::ready!(ticket.poll_text(context)) {
                Some(Ok(text)) => text,
                Some(Err(failure)) => {
                    let text = ticket.answer.failure(&failure);
                    *place = None;
                    let Some(text) = text else {
                        return Poll::Ready(Some(Err(io::ErrorKind::Interrupted.into())));
                    };
                    text
                }
                None => {
                    let text = ticket.answer.end();
                    *place = None;
                    text
                }
            };
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Stream(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer of one type, which nobody keeps.
pub fn typed(status: StatusCode, kind: &'static str, content: Content) -> Response {
    let mut response = hyper::Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A document.
pub fn document(document: &Value) -> Response {
    typed(StatusCode::OK, JSON, Content::whole(document.to_string()))
}

/// A document that keeps its share of memory until it has been sent.
pub fn held(document: Held) -> Response {
    typed(StatusCode::OK, JSON, Content::whole(Bytes::from_owner(document)))
}

/// The page of metrics.
pub fn page(text: String) -> Response {
    typed(StatusCode::OK, "text/plain; version=0.0.4", Content::whole(text))
}

/// A stream of this type.
pub fn stream(kind: &'static str, ticket: Ticket) -> Response {
    typed(StatusCode::OK, kind, Content::Stream(Some(Box::new(ticket))))
}

/// Why there is no other answer, as a protocol says it.
pub fn failure(failure: &Failure, protocol: Protocol) -> Response {
    let document = failure.document(protocol).to_string();
    let mut response = typed(failure.status, JSON, Content::whole(document));
    let header = match failure.status {
        StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, "5"),
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Bearer"),
        _ => return response,
    };
    response.headers_mut().insert(header.0, HeaderValue::from_static(header.1));
    response
}
