//! `kinglet serve` in a process of its own, and clients that speak HTTP by hand.

use crate::command::kinglet;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// So long a test waits for what must come; only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with its owner.
pub struct Server {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The lines of the head, in lower case.
    pub head: String,
    /// The body, put together where it came in chunks.
    pub body: String,
}

impl Server {
    /// Starts a server for a weight file on a free port and waits until it answers.
    pub fn start(model: &Path, args: &[&str]) -> Self {
        let home = TempDir::new().expect("a folder");
        let mut command = kinglet(home.path());
        command.arg("serve").arg(model).args(["--listen", "127.0.0.1:0"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the command starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says something");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("the server said {line:?}"));
        let address = address.parse().expect("an address");
        Self { child, address, _home: home }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection that nothing was said on.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    /// Sends bytes and reads until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A server may answer, and close, before it has read everything.
        let _ = stream.write_all(bytes);
        rest(stream)
    }

    /// The bytes of a request that closes its connection.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let address = self.address;
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// Asks with headers of the caller's, each ending its line.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        Answer::new(&self.raw(&self.request(method, path, headers, body)))
    }

    /// `GET`
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    /// `POST` of a document.
    pub fn post(&self, path: &str, document: &Value) -> Answer {
        self.ask("POST", path, "", &document.to_string())
    }

    /// A number of `GET /metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics").body;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().expect("a number")
    }

    /// Waits until no reply is made and none waits.
    pub fn settle(&self) {
        let is_idle = || {
            ["kinglet_running_replies", "kinglet_waiting_replies"]
                .iter()
                .all(|name| self.metric(name) == 0)
        };
        for _ in 0..PATIENCE.as_millis() / 20 {
            if is_idle() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server is still busy");
    }

    /// Asks the server to end, as service managers do.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("the server ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes until the connection is closed.
pub fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has said what it had to say before.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("answers are UTF-8")
}

impl Answer {
    /// Takes the bytes of one answer apart.
    pub fn new(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = match head.contains("transfer-encoding: chunked") {
            true => chunks(body).concat(),
            false => body.to_owned(),
        };
        Self { status: status.unwrap_or_else(|| panic!("{text:?}")), head, body }
    }

    /// The document of a success.
    pub fn document(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).expect("the answer is JSON")
    }

    /// The documents of a stream's events, which end with `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        assert!(self.status == 200 && self.head.contains("content-type: text/event-stream"));
        let events = self.body.strip_suffix("data: [DONE]\n\n").expect("a stream has an end");
        let event = |event: &str| {
            let data = event.strip_prefix("data: ").expect("an event has data");
            serde_json::from_str(data).expect("an event is JSON")
        };
        events.split_terminator("\n\n").map(event).collect()
    }

    /// Asserts an error of this status in the OpenAI protocol's form; returns its message.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let document: Value = serde_json::from_str(&self.body).expect("an error is JSON");
        let error = &document["error"];
        assert!(error["type"].is_string() && error["code"] == status, "{document}");
        error["message"].as_str().expect("an error has a message").to_owned()
    }
}

/// The chunks of a body, each of which must be whole characters.
fn chunks(mut body: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    while let Some((length, behind)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a chunk has a length");
        if length == 0 {
            break;
        }
        chunks.push(&behind[..length]);
        body = behind[length..].strip_prefix("\r\n").expect("a chunk has an end");
    }
    chunks
}
