//! Answers as bytes: whole documents, and streams of server-sent events.

use super::app::Ticket;
use super::failure::Failure;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An answer.
pub type Response = hyper::Response<Content>;

/// The body of an answer.
pub enum Content {
    /// All of it, once.
    Whole(Option<Bytes>),
    /// Events, as the engine makes them. Dropping it stops the replies.
    Events(Option<Box<Ticket>>),
}

impl Content {
    /// A whole body.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let place = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Events(place) => place,
        };
        loop {
            let Some(ticket) = place else { return Poll::Ready(None) };
            let mut text = String::new();
            match std::task::ready!(ticket.poll_chunks(context)) {
                Some(Ok(chunks)) => chunks.iter().for_each(|chunk| event(&mut text, chunk)),
                Some(Err(failure)) => {
                    event(&mut text, &failure.document());
                    *place = None;
                }
                None => {
                    ticket.answer.last_chunk().iter().for_each(|chunk| event(&mut text, chunk));
                    text.push_str("data: [DONE]\n\n");
                    *place = None;
                }
            }
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Events(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

fn event(text: &mut String, document: &Value) {
    text.push_str(&format!("data: {document}\n\n"));
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
    typed(StatusCode::OK, "application/json", Content::whole(document.to_string()))
}

/// The page of metrics.
pub fn page(text: String) -> Response {
    typed(StatusCode::OK, "text/plain; version=0.0.4", Content::whole(text))
}

/// A stream of events.
pub fn events(ticket: Ticket) -> Response {
    typed(StatusCode::OK, "text/event-stream", Content::Events(Some(Box::new(ticket))))
}

/// Why there is no other answer.
pub fn failure(failure: &Failure) -> Response {
    let document = failure.document().to_string();
    let mut response = typed(failure.status, "application/json", Content::whole(document));
    let header = match failure.status {
        StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, "5"),
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Bearer"),
        _ => return response,
    };
    response.headers_mut().insert(header.0, HeaderValue::from_static(header.1));
    response
}
