//! Who may ask: by key, and by what browsers say of the page that asks.

use super::failure::{Failure, Outcome};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// What a request must show.
pub struct Access {
    /// The digest of the key that is asked for.
    key: Option<[u8; 32]>,
    /// Whether only this machine can ask, so that the names of hosts are known.
    is_local: bool,
}

impl Access {
    /// A server on this machine alone or for others, with a key or without.
    pub fn new(key: Option<&[u8]>, is_local: bool) -> Self {
        Self { key: key.map(digest), is_local }
    }

    /// Refuses requests that pages of other origins make through somebody's browser, also those
    /// that reach this machine under a name of their own.
    pub fn check_origin(&self, headers: &HeaderMap) -> Outcome<()> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Failure::request("a request has one header Host"));
        };
        let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let Some(host) = host else {
            return Err(Failure::request("the header Host names no host"));
        };
        if self.is_local && !is_this_machine(host.host()) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "the header Host names another machine: ask for localhost or 127.0.0.1",
            ));
        }
        // No page can set this header itself, and it stays true behind a proxy that changes Host.
        let site = headers.get("sec-fetch-site");
        if site.is_some_and(|site| site == "same-origin") {
            return Ok(());
        }
        let is_own = |origin: &str| {
            let own = origin.split_once("://").map(|(_, origin)| origin);
            own.is_some_and(|own| own.eq_ignore_ascii_case(host.as_str()))
        };
        let is_fine = |origin: &hyper::header::HeaderValue| origin.to_str().is_ok_and(is_own);
        if !headers.get_all(ORIGIN).iter().all(is_fine) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "the request comes from a page of another origin, which is not allowed",
            ));
        }
        Ok(())
    }

    /// Refuses requests without the key.
    pub fn check_key(&self, headers: &HeaderMap) -> Outcome<()> {
        let Some(key) = &self.key else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, given) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
        });
        // Of digests, neither the length nor the first difference tells anything about the key.
        let is_right = given.is_some_and(|given| digest(given.as_bytes()).ct_eq(key).into());
        match is_right {
            true => Ok(()),
            false => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "the key is missing or wrong: send it as `Authorization: Bearer KEY`",
            )),
        }
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in given {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn pages_of_others_are_refused() {
        let access = Access::new(None, true);
        let allows = |given: &[_]| access.check_origin(&headers(given)).is_ok();
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:8080", "127.8.8.8"] {
            assert!(allows(&[("host", host)]), "{host}");
        }
        for host in ["example.org", "localhost.example.org", "10.0.0.1", "127.0.0.1.nip.io", ""] {
            assert!(!allows(&[("host", host)]), "{host}");
        }
        assert!(!allows(&[]) && !allows(&[("host", "localhost"), ("host", "localhost")]));
        let from = |origin| allows(&[("host", "localhost:80"), ("origin", origin)]);
        assert!(from("http://localhost:80"));
        assert!(!from("http://localhost:81") && !from("null") && !from("https://example.org"));
        let proxied = |site| {
            let origin = ("origin", "https://board.example");
            allows(&[("host", "127.0.0.1:80"), origin, ("sec-fetch-site", site)])
        };
        assert!(proxied("same-origin"));
        assert!(!proxied("same-site") && !proxied("cross-site") && !proxied("none"));
        let rebound = [("host", "example.org"), ("sec-fetch-site", "same-origin")];
        assert!(!allows(&rebound), "the name of the host counts first");
        let open = Access::new(Some(b"key"), false);
        assert!(open.check_origin(&headers(&[("host", "board.lan:8080")])).is_ok());
    }

    #[test]
    fn the_key_is_asked_for() {
        let allows = |access: &Access, given: &[_]| access.check_key(&headers(given)).is_ok();
        let access = Access::new(Some(b"secret"), true);
        assert!(allows(&access, &[("authorization", "Bearer secret")]));
        assert!(allows(&access, &[("authorization", "bearer  secret")]));
        for wrong in ["Bearer secre", "Bearer secrets", "Basic secret", "secret", "Bearer "] {
            assert!(!allows(&access, &[("authorization", wrong)]), "{wrong}");
        }
        assert!(!allows(&access, &[]));
        assert!(allows(&Access::new(None, true), &[]));
    }
}
