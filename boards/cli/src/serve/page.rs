//! `GET /`: a page for people, in one file that asks nobody but this server.

use super::response::{Content, Response, typed};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const PAGE: &str = include_str!("page.html");

/// What comes with the page.
static HEADERS: LazyLock<[(HeaderName, HeaderValue); 6]> = LazyLock::new(|| {
    let value = |text: &str| HeaderValue::from_str(text).expect("a header is ASCII");
    [
        (CONTENT_SECURITY_POLICY, value(&policy(PAGE))),
        (X_CONTENT_TYPE_OPTIONS, value("nosniff")),
        // For browsers that do not know `frame-ancestors`.
        (X_FRAME_OPTIONS, value("DENY")),
        (REFERRER_POLICY, value("no-referrer")),
        // Browsers may keep it, and ask each time whether it is still the one.
        (CACHE_CONTROL, value("no-cache")),
        (ETAG, value(&format!("\"{}\"", digest(PAGE)))),
    ]
});

/// The page, or that the client has it already.
pub fn answer(asked: &HeaderMap) -> Response {
    let headers = &*HEADERS;
    let (_, tag) = &headers[headers.len() - 1];
    let mut response = match knows(asked, tag) {
        true => typed(StatusCode::NOT_MODIFIED, "text/html; charset=utf-8", Content::Whole(None)),
        false => {
            let page = Content::whole(Bytes::from_static(PAGE.as_bytes()));
            typed(StatusCode::OK, "text/html; charset=utf-8", page)
        }
    };
    for (name, value) in headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Whether a client has what this tag stands for. A proxy that compresses marks tags as weak.
fn knows(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.trim_start_matches("W/") == tag
    })
}

/// What a page may do: run its own script, show its own styles, and ask its own server. Nothing
/// can turn a text into a part of it.
fn policy(page: &str) -> String {
    let own = |name: &str| {
        let begin = page.split_once(&format!("<{name}>")).expect("the page has one").1;
        digest(begin.split_once(&format!("</{name}>")).expect("it has an end").0)
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        own("script"),
        own("style")
    )
}

fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        for part in ["<script", "<style", "</script", "</style"] {
            assert_eq!(PAGE.matches(part).count(), 1, "the policy names one: {part}");
        }
        for word in ["http:", "https:", "innerHTML", "style=", "onclick", "src=", "@import"] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(word);
            assert!(!found, "{word}");
        }
        assert!(PAGE.len() <= 18 << 10, "{} bytes", PAGE.len());
    }

    #[test]
    fn the_policy_has_the_digests_of_style_and_script() {
        let policy = policy("<style>a</style><script>\nb\n</script>");
        // printf 'a' | openssl dgst -sha256 -binary | base64
        for digest in [
            "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=",
            "5u1fIKMXKQ46ulUkDeSKZ+xmkP0iq3GhMyrJ/dvDjMU=",
        ] {
            assert!(policy.contains(&format!("'sha256-{digest}'")), "{policy}");
        }
    }

    #[test]
    fn who_has_the_page_gets_no_other() {
        let status = |tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
            answer(&headers).status()
        };
        let tag = answer(&HeaderMap::new()).headers()[ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
            assert_eq!(status(&known), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(status("\"x\""), StatusCode::OK);
    }
}
