//! A small server that speaks the addresses of the Hugging Face hub, and misbehaves on demand.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// The repository that the server has.
pub const REPO: &str = "owner/model";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server behaves; tests change it between and during runs.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Files of the repository. Weights are served the way the hub serves large files: with their
    /// SHA-256 as tag, behind a redirect.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Break the connection after this many bytes of a weight file, this many times.
    pub cut: Option<(usize, u32)>,
    /// Fall silent after this many bytes of a weight file.
    pub stall: Option<usize>,
    /// Flip a bit in weights on the wire.
    pub corrupt: bool,
    /// Refuse requests without this token.
    pub token: Option<String>,
}

/// A running server; it stops with the test.
#[derive(Clone, Debug)]
pub struct Hub {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// One request that the server has seen.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path of the address.
    pub path: String,
    /// First byte asked for, and whether the request asks for all that follow.
    pub range: Option<(usize, bool)>,
    authorization: Option<String>,
}

impl Hub {
    /// Starts a server.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let hub = Self {
            address: listener.local_addr().expect("it is bound"),
            behaviour: Arc::new(Mutex::new(behaviour)),
            requests: Arc::default(),
        };
        let server = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // Clients that go away in the middle are part of the tests.
                thread::spawn(move || server.serve(stream).ok());
            }
        });
        hub
    }

    /// What `HF_ENDPOINT` must be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The behaviour, to look at or change.
    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().expect("no test panics while it holds this")
    }

    /// All requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().expect("no test panics while it holds this"))
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let Some(request) = read_request(&mut BufReader::new(&stream))? else { return Ok(()) };
        self.requests.lock().expect("nobody panics here").push(request.clone());
        let behaviour = self.behaviour().clone();
        if let Some(token) = &behaviour.token
            && request.authorization.as_deref() != Some(&format!("Bearer {token}"))
        {
            return respond(&stream, "401 Unauthorized", "", b"");
        }
        if request.path == format!("/api/models/{REPO}/revision/main") {
            let siblings: Vec<_> =
                behaviour.files.keys().map(|f| format!("{{\"rfilename\":\"{f}\"}}")).collect();
            let body = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", siblings.join(","));
            return respond(
                &stream,
                "200 OK",
                "Content-Type: application/json\r\n",
                body.as_bytes(),
            );
        }
        if let Some(name) = request.path.strip_prefix("/large/")
            && let Some(content) = behaviour.files.get(name)
        {
            return self.send_weights(&stream, &request, content, &behaviour);
        }
        let resolve = format!("/{REPO}/resolve/{COMMIT}/");
        let Some((name, content)) = request
            .path
            .strip_prefix(&resolve)
            .and_then(|name| Some((name, behaviour.files.get(name)?)))
        else {
            return respond(&stream, "404 Not Found", "", b"");
        };
        if !name.ends_with(".safetensors") {
            let tag = format!("ETag: \"{:040x}\"\r\n", content.len());
            return send_range(&stream, &request, content, &tag);
        }
        let head = format!(
            "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{}\"\r\nLocation: {}/large/{name}\r\n",
            sha256(content),
            self.endpoint()
        );
        respond(&stream, "302 Found", &head, b"")
    }

    fn send_weights(
        &self,
        stream: &TcpStream,
        request: &Request,
        content: &[u8],
        behaviour: &Behaviour,
    ) -> std::io::Result<()> {
        let Some((start, true)) = request.range else {
            return send_range(stream, request, content, "");
        };
        let mut content = content.to_vec();
        if behaviour.corrupt {
            content[1000] ^= 1;
        }
        let mut limit = behaviour.stall;
        if let Some((bytes, times)) = &mut self.behaviour().cut
            && *times > 0
        {
            *times -= 1;
            limit = Some(*bytes);
        }
        let Some(limit) = limit else { return send_range(stream, request, &content, "") };
        let (end, total) = (content.len() - 1, content.len());
        let head = format!("Content-Range: bytes {start}-{end}/{total}\r\n");
        send_head(stream, "206 Partial Content", &head, total - start)?;
        (&*stream).write_all(&content[start..total.min(start + limit)])?;
        if behaviour.stall.is_some() {
            thread::sleep(Duration::from_secs(600));
        }
        Ok(())
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let mut request = Request { path, range: None, authorization: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(Some(request));
        };
        if name.eq_ignore_ascii_case("authorization") {
            request.authorization = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("range") {
            let range = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
            request.range =
                range.and_then(|(start, end)| Some((start.parse().ok()?, end.is_empty())));
        }
    }
}

/// Answers a request for a part of a file, or for its first byte.
fn send_range(
    stream: &TcpStream,
    request: &Request,
    all: &[u8],
    head: &str,
) -> std::io::Result<()> {
    let (start, to_end) = request.range.unwrap_or((0, true));
    let end = if to_end { all.len() } else { start + 1 };
    if start >= all.len() {
        return respond(stream, "416 Range Not Satisfiable", "", b"");
    }
    let head = format!(
        "X-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{}\r\n{head}",
        end - 1,
        all.len()
    );
    respond(stream, "206 Partial Content", &head, &all[start..end])
}

fn respond(stream: &TcpStream, status: &str, head: &str, body: &[u8]) -> std::io::Result<()> {
    send_head(stream, status, head, body.len())?;
    (&*stream).write_all(body)
}

fn send_head(
    mut stream: &TcpStream,
    status: &str,
    head: &str,
    length: usize,
) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take everything");
        text
    })
}
