//! Answers that are no success.

use hyper::StatusCode;
use kinglet::Error;
use serde_json::{Value, json};

/// Why a request is not answered.
#[derive(Debug)]
pub struct Failure {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub message: String,
}

/// Whose form a failure has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OpenAI's.
    OpenAi,
    /// Ollama's.
    Ollama,
}

impl Protocol {
    /// The protocol that a path belongs to.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/api/") { Self::Ollama } else { Self::OpenAi }
    }
}

/// What a request turns into, or why not.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with a status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A request that makes no sense.
    pub fn request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The engine has ended without an answer.
    pub fn engine() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has failed: restart the server")
    }

    /// The document that tells it.
    pub fn document(&self, protocol: Protocol) -> Value {
        match protocol {
            Protocol::Ollama => json!({"error": self.message}),
            Protocol::OpenAi => json!({"error": {
                "message": self.message, "type": self.kind(), "param": null,
                "code": self.status.as_u16(),
            }}),
        }
    }

    /// The OpenAI protocol's word for it.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.code() as i32 {
            400..500 => Self::request(error.message()),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.message()),
        }
    }
}
