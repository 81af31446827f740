//! The page that `kinglet serve` has at `/`, in a real browser.

use crate::serve::{CHAT, server};
use kinglet_tests::browser::Browser;
use kinglet_tests::proxy;
use kinglet_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is looked for on the page.
const LOOK: &str = include_str!("page_look.js");

/// A reply that is longer than the context, so that only the context or somebody ends it.
const ENDLESS: &str = r#"{"type": "object", "properties": {"a": {"type": "string",
    "minLength": 2000}}, "required": ["a"], "additionalProperties": false}"#;

/// The page of a server, in a browser.
struct Page {
    browser: Browser,
    address: String,
}

impl Page {
    /// Opens it; where there is no browser, says that `test` is skipped.
    fn open(test: &str, address: impl Into<String>) -> Option<Self> {
        let mut page = Self { browser: Browser::start(test)?, address: address.into() };
        page.browser.show_part(1280, 800, false);
        page.load();
        Some(page)
    }

    fn of(test: &str, server: &Server) -> Option<Self> {
        Self::open(test, format!("http://{}/", server.address()))
    }

    /// Loads it and waits until it has asked what model there is, or has heard why not.
    fn load(&mut self) {
        self.browser.open(&self.address.clone());
        self.browser.wait("$('model').textContent || $('error').textContent");
    }

    /// Asserts that the page has run into nothing and has asked its own server alone.
    fn assert_well(&self) {
        let happened = self.browser.happened(&self.address);
        assert_eq!(happened.messages, Vec::<String>::new());
        let is_own = |request: &&String| request.starts_with(&self.address);
        assert!(happened.requests.iter().all(|request| is_own(&request)), "{happened:?}");
    }

    fn text(&mut self, expression: &str) -> String {
        self.browser.evaluate(expression).as_str().unwrap().to_owned()
    }

    /// Puts a text into a field.
    fn fill(&mut self, field: &str, text: &str) {
        self.browser.evaluate(&format!("settings.open = true; $('{field}').select()"));
        self.browser.write(text);
    }

    /// Sends a message, and waits until there is a reply to it or something is wrong.
    fn send(&mut self, text: &str) {
        self.fill("message", text);
        self.browser.press("Enter", false);
        self.browser.wait("running === null");
    }

    fn last_reply(&mut self) -> String {
        self.text("turns.lastElementChild.children[1].textContent")
    }

    fn facts(&mut self) -> String {
        self.text("turns.lastElementChild.children[2].textContent")
    }

    fn error(&mut self) -> String {
        self.text("$('error').textContent")
    }
}

#[test]
fn the_page_is_there_for_all_and_keeps_to_itself() {
    let server = server(&[]);
    let page = server.ask("GET", "/", "Accept: text/html\r\n", "");
    assert!(page.status == 200 && page.body.starts_with("<!DOCTYPE html>"));
    assert_eq!(server.get("/").body, page.body);
    for line in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-cache",
    ] {
        assert!(page.head.contains(&format!("\r\n{line}")), "{line}: {}", page.head);
    }
    assert!(
        page.head.contains("frame-ancestors 'none'") && page.head.contains("connect-src 'self'")
    );
    let head = server.ask("HEAD", "/", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains(&format!("\r\ncontent-length: {}", page.body.len())));
    let raw = String::from_utf8(server.request("GET", "/", "", "")).unwrap();
    let tag = server.raw(raw.as_bytes());
    let tag = tag.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let known = server.ask("GET", "/", &format!("If-None-Match: {tag}\r\n"), "");
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    server.ask("POST", "/", "", "").error(405);
    server.ask("GET", "/", "Origin: http://example.org\r\n", "").error(403);
}

#[test]
fn replies_stream_in_and_are_said_once() {
    let server = server(&["--slots", "1"]);
    let test = "replies_stream_in_and_are_said_once";
    let Some(mut page) = Page::of(test, &server) else { return };
    assert!(page.text("$('model').textContent").contains("gqa3-head64, texts of up to 512 tokens"));
    page.fill("temperature", "0");
    page.fill("system", "Be brief.");
    page.fill("tokens", "200");
    page.browser.evaluate(
        "var seen = [], said = [];
        const length = () => turns.lastElementChild?.children[1].textContent.length || 0;
        new MutationObserver(() => seen.push(length()))
            .observe(turns, { subtree: true, childList: true, characterData: true });
        new MutationObserver(() => said.push($('said').textContent))
            .observe($('said'), { childList: true, characterData: true }); 0",
    );
    page.send("one two three");
    page.assert_well();
    let messages = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two three"}]);
    let ask = json!({"messages": messages, "temperature": 0, "max_tokens": 200});
    let expected = server.post(CHAT, &ask).document();
    let reply = expected["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(page.last_reply(), reply);
    assert!(page.text("said.filter(Boolean).join('|')").contains(&format!("Reply: {reply}")));
    assert_eq!(page.browser.evaluate("said.filter(Boolean).length"), 1, "whole, not by tokens");
    let spoken = "turns.closest('[aria-live], [role=log], [role=status]') === null";
    assert_eq!(page.browser.evaluate(spoken), true);
    let lengths = page.browser.evaluate("[...new Set(seen)].filter((n) => n > 0).length");
    assert!(lengths.as_u64().unwrap() > 3, "it came in {lengths} parts");
    let facts = page.facts();
    let usage = &expected["usage"];
    for fact in [
        format!("{} tokens, ", usage["completion_tokens"]),
        " tokens/s · ".into(),
        format!("prompt of {} tokens", usage["prompt_tokens"]),
        "first word after ".into(),
    ] {
        assert!(facts.contains(&fact), "{facts}");
    }
    assert!(facts.contains("cut: ") == (expected["choices"][0]["finish_reason"] == "length"));
    // The conversation goes on: its beginning is known to the server.
    page.fill("tokens", "4");
    page.send("four");
    assert!(page.facts().contains(" of them known"), "{}", page.facts());
    assert_eq!(page.browser.evaluate("turns.children.length"), 4);
    page.browser.evaluate("$('new').click()");
    assert_eq!(page.browser.evaluate("turns.children.length + messages.length"), 0);
    page.send("<b>five</b><img src=x onerror=alert(1)>");
    assert_eq!(page.browser.evaluate("turns.querySelectorAll('b, img').length"), 0);
    assert_eq!(page.browser.evaluate("turns.children.length"), 2);
    page.assert_well();
}

/// How soon the browser acts is not certain: of several long replies, one is stopped in time.
#[test]
fn stopping_frees_the_slot() {
    let server = server(&["--slots", "1"]);
    let Some(mut page) = Page::of("stopping_frees_the_slot", &server) else { return };
    page.fill("schema", ENDLESS);
    page.browser.evaluate(
        "new MutationObserver(() => {
            const reply = turns.querySelector('[aria-busy] .text');
            if (reply?.textContent) $('stop').click();
        }).observe(turns, { subtree: true, childList: true, characterData: true }); 0",
    );
    let stopped = (0..20).any(|_| {
        page.send("one two three");
        let was_stopped = page.facts() == "Stopped.";
        server.settle();
        was_stopped && server.metric("kinglet_abandoned_total") > 0
    });
    assert!(stopped, "{}", page.facts());
    assert!(!page.last_reply().is_empty(), "what there is of the reply stays");
    assert_eq!(page.browser.evaluate("$('stop').checkVisibility()"), false);
    page.browser.evaluate("$('new').click()");
    page.fill(
        "schema",
        r#"{"type": "object", "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"], "additionalProperties": false}"#,
    );
    page.browser.evaluate("$('stop').replaceWith($('stop').cloneNode(true)); 0");
    page.send("one");
    let reply: Value = serde_json::from_str(&page.last_reply()).unwrap();
    assert!([1, 2].contains(&reply["a"].as_u64().unwrap()), "{reply}");
    page.assert_well();
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let server = server(&[]);
    let Some(mut page) = Page::of("what_is_wrong_is_said_in_words", &server) else { return };
    let long = "one ".repeat(600);
    page.send(&long);
    assert!(page.error().contains("the context 512: shorten it"), "{}", page.error());
    assert_eq!(page.text("message.value").trim(), long.trim(), "it can be shortened");
    assert_eq!(page.browser.evaluate("turns.children.length + messages.length"), 0);
    page.fill("schema", r#"{"type": "array", "uniqueItems": true}"#);
    page.send("one");
    assert!(page.error().contains("uniqueItems"), "{}", page.error());
    // What the page itself knows to be wrong is never sent.
    for (field, wrong) in [("schema", "{"), ("temperature", "3"), ("tokens", "0")] {
        page.fill(field, wrong);
        page.browser.evaluate("settings.open = false; $('send').click()");
        assert_eq!(page.text("document.querySelector('#composer :invalid').id"), field);
        assert_eq!(page.browser.evaluate("settings.open && running === null"), true);
        page.browser.evaluate(&format!(
            "$('{field}').value = ''; $('{field}').dispatchEvent(new Event('input')); 0"
        ));
    }
    server.terminate();
    assert!(server.wait().success());
    page.send("one");
    assert!(page.error().contains("cannot be reached"), "{}", page.error());
    let role = page.text("$('error').getAttribute('role')");
    assert_eq!((role.as_str(), page.text("message.value").as_str()), ("alert", "one"));
}

/// Behind a proxy, which has the server under a path of its own and asks it by its own address.
#[test]
fn a_key_is_asked_for_also_behind_a_proxy() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("key");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let server = server(&["--api-key-file", file.to_str().unwrap()]);
    let proxy = proxy::start(server.address(), "/boards/one");
    let test = "a_key_is_asked_for_also_behind_a_proxy";
    let Some(mut page) = Page::open(test, format!("http://{proxy}/boards/one")) else { return };
    assert_eq!(page.error(), "The server wants a key.");
    assert_eq!(page.text("document.activeElement.id"), "secret");
    page.browser.write("0123456789abcdeX");
    page.browser.press("Enter", false);
    page.browser.wait("$('error').textContent === 'The server does not take this key.'");
    page.browser.write("0123456789abcdef");
    page.browser.press("Enter", false);
    page.browser.wait("$('model').textContent");
    assert_eq!(page.browser.evaluate("$('key').checkVisibility()"), false);
    assert_eq!(page.text("document.activeElement.id"), "message");
    page.fill("tokens", "5");
    page.send("one");
    assert_eq!((page.error(), page.facts().contains(" tokens")), (String::new(), true));
    let kept =
        "JSON.stringify([Object.values(sessionStorage), localStorage.length, document.cookie])";
    assert_eq!(page.text(kept), r#"[["0123456789abcdef"],0,""]"#);
    page.load();
    assert_eq!(page.error(), "", "a tab that is loaded again has the key");
}

#[test]
fn the_keyboard_is_enough() {
    let server = server(&[]);
    let Some(mut page) = Page::of("the_keyboard_is_enough", &server) else { return };
    // Goes on to an element, each on the way with its focus to be seen.
    let reach = |page: &mut Page, wanted: &str| {
        for _ in 0..12 {
            let state = "(() => { const at = document.activeElement, style = getComputedStyle(at);
                const place = at.getBoundingClientRect();
                const isSeen = style.outlineStyle === 'solid' && place.top >= 0
                    && place.bottom <= innerHeight;
                return [at.id || at.localName, at === document.body || isSeen]; })()";
            let state = page.browser.evaluate(state);
            assert_eq!(state[1], true, "{state}");
            if state[0] == wanted {
                return;
            }
            page.browser.press("Tab", false);
        }
        panic!("{wanted} is not reached");
    };
    reach(&mut page, "summary");
    page.browser.press("Enter", false);
    reach(&mut page, "tokens");
    page.browser.write("3");
    reach(&mut page, "message");
    page.browser.write("one");
    page.browser.press("Enter", true);
    page.browser.write("two");
    reach(&mut page, "send");
    page.browser.press("Space", false);
    page.browser.wait("running === null && turns.children.length === 2");
    assert_eq!(page.text("turns.children[0].children[1].textContent"), "one\ntwo");
    // All of them may have come at once, which says nothing of the speed.
    assert!(page.facts().starts_with("3 tokens"), "{}", page.facts());
    page.browser.press("Tab", true);
    assert_eq!(page.text("document.activeElement.id"), "new");
    page.browser.press("Enter", false);
    assert_eq!(page.browser.evaluate("turns.children.length"), 0);
    assert_eq!(page.text("document.activeElement.id"), "message");
    // Escape stops; the focus of a button that goes away goes back to the message.
    page.fill("schema", ENDLESS);
    page.fill("tokens", "100000");
    page.fill("message", "one");
    page.browser.press("Enter", false);
    page.browser.evaluate("if (running) $('stop').focus()");
    page.browser.press("Escape", false);
    page.browser.wait("running === null");
    assert_eq!(page.text("document.activeElement.id"), "message");
}

#[test]
fn everybody_can_read_it() {
    let server = server(&[]);
    let Some(mut page) = Page::of("everybody_can_read_it", &server) else { return };
    let mut names: Vec<(String, String)> = Vec::new();
    for (width, height) in [(360, 740), (1280, 800)] {
        for is_dark in [false, true] {
            page.browser.show_part(width, height, is_dark);
            page.load();
            let look = |page: &mut Page, texts: u64| {
                let seen = page.browser.evaluate(LOOK);
                assert_eq!(seen["faults"], json!([]), "{width} pixels, dark: {is_dark}");
                assert!(seen["texts"].as_u64().unwrap() >= texts, "{seen}");
            };
            look(&mut page, 8);
            page.fill("tokens", "30");
            page.send(&format!("one {}", "w".repeat(300)));
            page.browser.evaluate(
                "turns.lastElementChild.children[1].append('x'.repeat(300));
                typeset(turns.firstElementChild.children[1], 'a\\n```rust\\nb\\n```\\nc');
                for (const id of ['key', 'stop']) $(id).hidden = false; tell('wrong '.repeat(50))",
            );
            look(&mut page, 20);
            assert_eq!(page.browser.evaluate("turns.querySelector('pre').textContent"), "b");
            names = page.browser.heard();
        }
    }
    let controls = ["textbox", "spinbutton", "button", "DisclosureTriangle"];
    let mut named: Vec<_> = names.iter().filter(|(role, _)| controls.contains(&&**role)).collect();
    named.sort();
    let named: Vec<String> = named.iter().map(|(role, name)| format!("{role} {name}")).collect();
    assert_eq!(
        named,
        [
            "DisclosureTriangle Settings",
            "button New chat",
            "button Send",
            "button Stop",
            "button Use",
            "spinbutton Maximum tokens",
            "spinbutton Temperature",
            "textbox JSON schema of the reply",
            "textbox Key of this server",
            "textbox Message",
            "textbox System prompt",
        ]
    );
    for (role, name) in [
        ("RootWebArea", "gqa3-head64 – Kinglet"),
        ("main", ""),
        ("banner", ""),
        ("heading", "Kinglet"),
        ("heading", "You"),
        ("heading", "Reply"),
        ("list", "Conversation"),
    ] {
        assert!(names.contains(&(role.into(), name.into())), "{role} {name}: {names:?}");
    }
}
