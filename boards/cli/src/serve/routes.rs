//! From requests to answers.

use super::answer::{Delivery, Prepared};
use super::app::App;
use super::failure::{Failure, Outcome, Protocol};
use super::response::{self, Response};
use super::ticket::Ticket;
use super::{ollama, openai, openapi, page, tokens};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Kilobytes of all bodies that are being read.
pub const ALL_BODIES_KIB: usize = 8 << 10;
/// Within it a body must be whole.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What understands a body.
type Prepare = fn(&App, &[u8]) -> Outcome<Prepared>;
/// What answers a body at once.
type Tell = fn(&App, &[u8]) -> Outcome<Value>;

/// What a path leads to.
#[derive(Clone, Copy)]
enum Route {
    Page,
    Health,
    Metrics,
    /// A document about the server.
    Document(fn(&App) -> Value),
    Generate(Prepare),
    Tell(Tell),
}

/// All paths.
const ROUTES: [(&str, Route); 19] = [
    ("/", Route::Page),
    ("/health", Route::Health),
    ("/metrics", Route::Metrics),
    ("/openapi.json", Route::Document(openapi::document)),
    ("/v1/models", Route::Document(models)),
    ("/v1/chat/completions", Route::Generate(openai::chat::prepare)),
    ("/v1/completions", Route::Generate(openai::completion::prepare)),
    ("/v1/embeddings", Route::Generate(openai::embeddings::prepare)),
    ("/v1/responses", Route::Generate(openai::responses::prepare)),
    ("/tokenize", Route::Tell(tokens::tokenize)),
    ("/detokenize", Route::Tell(tokens::detokenize)),
    ("/api/version", Route::Document(ollama::info::version)),
    ("/api/tags", Route::Document(ollama::info::tags)),
    ("/api/ps", Route::Document(ollama::info::running)),
    ("/api/show", Route::Tell(ollama::info::show)),
    ("/api/chat", Route::Generate(ollama::chat::prepare)),
    ("/api/generate", Route::Generate(ollama::generate::prepare)),
    ("/api/embed", Route::Generate(ollama::embed::prepare)),
    ("/api/embeddings", Route::Generate(ollama::embed::prepare_one)),
];

impl Route {
    fn of(path: &str) -> Option<Self> {
        ROUTES.iter().find(|(known, _)| *known == path).map(|(_, route)| *route)
    }

    fn method(self) -> Method {
        match self {
            Self::Page | Self::Health | Self::Metrics | Self::Document(_) => Method::GET,
            Self::Generate(_) | Self::Tell(_) => Method::POST,
        }
    }
}

/// All paths with their methods.
#[cfg(any(test, feature = "check"))]
pub fn all() -> impl Iterator<Item = (&'static str, Method)> {
    ROUTES.iter().map(|(path, route)| (*path, route.method()))
}

/// Answers a request.
pub async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response {
    // Whatever stands between a client and this server may have found another end of the body.
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let protocol = Protocol::of(request.uri().path());
    let outcome = respond(&app, request, protocol).await;
    let mut response = outcome.unwrap_or_else(|failure| {
        app.metrics.failures.add(1);
        response::failure(&failure, protocol)
    });
    if is_chunked || response.status().is_client_error() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn respond(
    app: &Arc<App>,
    request: Request<Incoming>,
    protocol: Protocol,
) -> Outcome<Response> {
    let headers = request.headers();
    app.access.check_origin(headers)?;
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Err(Failure::request(
            "a request has Content-Length or Transfer-Encoding, not both",
        ));
    }
    let path = request.uri().path();
    let Some(route) = Route::of(path) else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
    };
    // The page asks whoever sees it for the key.
    if !matches!(route, Route::Page | Route::Health) {
        app.access.check_key(headers)?;
    }
    let method = route.method();
    // The body of an answer to HEAD is left out below.
    let is_known =
        *request.method() == method || (*request.method() == Method::HEAD && method == Method::GET);
    if !is_known {
        app.metrics.failures.add(1);
        let message = format!("this path answers {method} alone");
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, message);
        let mut response = response::failure(&failure, protocol);
        let allowed = HeaderValue::from_str(method.as_str()).expect("a method is a token");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    match route {
        Route::Page => Ok(page::answer(headers)),
        Route::Health => Ok(response::document(&json!({"status": "ok"}))),
        Route::Metrics => Ok(response::page(app.metrics.page(&app.queue))),
        Route::Document(document) => Ok(response::document(&document(app))),
        Route::Generate(prepare) => {
            let prepared = understand(app, request, prepare).await?;
            generate(app, prepared).await
        }
        Route::Tell(tell) => Ok(response::document(&understand(app, request, tell).await?)),
    }
}

/// Answers a body that came by a path, without what HTTP has around it. Nothing for paths that take
/// no bodies.
#[cfg(feature = "check")]
pub async fn answer_body(app: &App, path: &str, body: &[u8]) -> Option<Response> {
    let outcome = match Route::of(path)? {
        Route::Generate(prepare) => match prepare(app, body) {
            Ok(prepared) => generate(app, prepared).await,
            Err(failure) => Err(failure),
        },
        Route::Tell(tell) => tell(app, body).map(|told| response::document(&told)),
        Route::Page | Route::Health | Route::Metrics | Route::Document(_) => return None,
    };
    Some(outcome.unwrap_or_else(|failure| response::failure(&failure, Protocol::of(path))))
}

fn models(app: &App) -> Value {
    let model = json!({
        "id": app.name, "object": "model", "created": app.created, "owned_by": "kinglet",
        "context_length": app.context,
    });
    json!({"object": "list", "data": [model]})
}

/// Reads a body and hands it to another thread: long prompts and grammars take their time, and
/// other requests go on meanwhile.
async fn understand<T: Send + 'static>(
    app: &Arc<App>,
    request: Request<Incoming>,
    work: fn(&App, &[u8]) -> Outcome<T>,
) -> Outcome<T> {
    let body = request.into_body();
    let most = body.size_hint().upper().unwrap_or(MAX_BODY_BYTES as u64);
    if most > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let kilobytes = most as u32 / 1024 + 1;
    let Ok(_permit) = app.bodies.clone().try_acquire_many_owned(kilobytes) else {
        let message = "too many requests are being read: try again later";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let body = read(body).await?;
    let shared = Arc::clone(app);
    let done = tokio::task::spawn_blocking(move || work(&shared, &body)).await;
    done.unwrap_or_else(|_| {
        let message = "the request could not be understood: this is a mistake in Kinglet";
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    })
}

fn too_large() -> Failure {
    let message = format!("the body has more than {MAX_BODY_BYTES} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

async fn read(body: Incoming) -> Outcome<Bytes> {
    let reading = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(cause)) if cause.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::request("the body ends too early or is malformed")),
        Err(_) => {
            let message = format!("the body was not there within {} s", BODY_TIME.as_secs());
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

async fn generate(app: &App, prepared: Prepared) -> Outcome<Response> {
    let delivery = prepared.delivery;
    let mut ticket = app.submit(prepared)?;
    match delivery {
        Delivery::Stream(framing) => Ok(response::stream(framing.content_type(), ticket)),
        Delivery::Parts => {
            // A failure at the beginning still becomes a status.
            ticket.ahead = next(&mut ticket).await.transpose()?.unwrap_or_default();
            Ok(response::stream(response::JSON, ticket))
        }
        Delivery::Whole => {
            while let Some(text) = next(&mut ticket).await {
                text?;
            }
            Ok(response::held(ticket.document()))
        }
    }
}

async fn next(ticket: &mut Ticket) -> Option<Outcome<String>> {
    poll_fn(|context| ticket.poll_text(context)).await
}
