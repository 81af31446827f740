//! A real browser without a window, for pages that must look right.
//!
//! It is Debian's `chromium-headless-shell`, and is told what to do over a pair of pipes, in the
//! protocol of its developer tools: objects of JSON, each followed by a zero.

use crate::skip::skip;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = "chromium-headless-shell";
/// The pipes are its files 3 and 4. A browser that hangs ends after these seconds, and the test
/// fails.
const START: &str = "exec timeout 300 \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "about:blank",
];

/// So long a test waits for what must come; only a failure takes it.
const PATIENCE_MS: u32 = 60_000;

/// Events that say what went wrong on a page, or what it loaded.
const EVENTS: [&str; 4] = [
    "Log.entryAdded",
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Network.requestWillBeSent",
];

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    events: Vec<Value>,
    _profile: TempDir,
}

/// What happened while a page was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Messages of the console, errors and refusals.
    pub messages: Vec<String>,
    /// Addresses that were asked for, but for the page itself and what it holds.
    pub requests: Vec<String>,
}

impl Browser {
    /// Starts it; where it is not installed, says that `test` is skipped.
    pub fn start(test: &str) -> Option<Self> {
        if Command::new(PROGRAM).arg("--version").output().is_err() {
            skip(test, format_args!("{PROGRAM} is not installed"));
            return None;
        }
        let profile = TempDir::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", START, PROGRAM]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = BufReader::new(output);
        let (events, session) = (Vec::new(), None);
        let mut browser =
            Self { child, input, output, calls: 0, session, events, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Makes the window this wide, with light or dark colours.
    pub fn show(&mut self, width: u32, is_dark: bool) {
        self.show_part(width, 900, is_dark);
    }

    /// The same with a height.
    pub fn show_part(&mut self, width: u32, height: u32, is_dark: bool) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Loads a file.
    pub fn load(&mut self, page: &Path) -> Loaded {
        self.open(&format!("file://{}", page.display()))
    }

    /// Loads what is at an address.
    pub fn open(&mut self, address: &str) -> Loaded {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": address }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
        // By then, everything that a page asks for when it is shown has been asked for.
        self.evaluate("new Promise(shown => requestAnimationFrame(() => setTimeout(shown, 100)))");
        self.happened(address)
    }

    /// What has happened since a page was loaded from an address.
    pub fn happened(&self, address: &str) -> Loaded {
        let (mut messages, mut requests) = (Vec::new(), Vec::new());
        for event in &self.events {
            let Some(method) = EVENTS.into_iter().find(|method| event["method"] == *method) else {
                continue;
            };
            if method != "Network.requestWillBeSent" {
                messages.push(event["params"].to_string());
                continue;
            }
            let asked = event["params"]["request"]["url"].as_str().unwrap();
            if asked != address && !asked.starts_with("data:") {
                requests.push(asked.to_owned());
            }
        }
        Loaded { messages, requests }
    }

    /// The value of an expression on the page, once it is there.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let arguments =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let found = self.call("Runtime.evaluate", arguments);
        assert!(found.get("exceptionDetails").is_none(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression on the page is true.
    pub fn wait(&mut self, expression: &str) {
        let script = format!(
            "(async () => {{
                const end = Date.now() + {PATIENCE_MS};
                while (!({expression}) && Date.now() < end) {{
                    await new Promise(requestAnimationFrame);
                }}
                return Boolean({expression});
            }})()"
        );
        assert_eq!(self.evaluate(&script), true, "{expression}");
    }

    /// Presses a key: `Tab`, `Enter`, `Escape` or `Space`, with Shift or without.
    pub fn press(&mut self, key: &str, with_shift: bool) {
        let (name, text, number) = match key {
            "Tab" => ("Tab", "", 9),
            "Enter" => ("Enter", "\r", 13),
            "Escape" => ("Escape", "", 27),
            "Space" => (" ", " ", 32),
            _ => panic!("{key} is no key that tests press"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let pressed = json!({
                "type": kind, "key": name, "code": key, "text": text,
                "windowsVirtualKeyCode": number, "modifiers": if with_shift { 8 } else { 0 },
            });
            self.call("Input.dispatchKeyEvent", pressed);
        }
    }

    /// Writes a text where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Role and name of everything on the page that those hear who do not see it.
    pub fn heard(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes
            .filter(|node| node["ignored"] == false)
            .map(|node| (text(&node["role"]), text(&node["name"])))
            .collect()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).unwrap();
        self.input.flush().unwrap();
        loop {
            let answer = self.receive();
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // `timeout` passes the signal on; a browser that is gone already is no fault.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
    }
}
