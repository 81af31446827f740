//! A proxy as people put it in front of a server: it has the server under a path of its own, and
//! asks it by the server's own address.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts a proxy whose threads end with the program; its address.
pub fn start(server: SocketAddr, path: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || hand_on(client, server, path));
        }
    });
    address
}

/// Hands one request to the server, and what comes back to the client.
fn hand_on(client: TcpStream, server: SocketAddr, path: &str) -> Option<()> {
    let mut input = BufReader::new(client.try_clone().ok()?);
    let head = head(&mut input, server, path)?;
    let mut to_server = TcpStream::connect(server).ok()?;
    to_server.write_all(head.as_bytes()).ok()?;
    let answer = to_server.try_clone().ok()?;
    thread::spawn(move || copy(answer, client));
    copy(input, to_server)
}

/// The head of a request as the server gets it.
fn head(input: &mut impl BufRead, server: SocketAddr, path: &str) -> Option<String> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let rest = rest.strip_prefix(path).filter(|rest| rest.starts_with(['/', ' ']))?;
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{rest}Host: {server}\r\nConnection: close\r\n");
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let name = line.split(':').next()?.to_ascii_lowercase();
        if !["host", "connection"].contains(&name.as_str()) {
            head.push_str(&line);
        }
        if line.trim_end().is_empty() {
            return Some(head);
        }
    }
}

/// Copies bytes as they come; the end of one side is the end of the other.
fn copy(mut from: impl Read, mut to: TcpStream) -> Option<()> {
    let mut bytes = [0; 4096];
    while let Some(count) = from.read(&mut bytes).ok().filter(|&count| count > 0) {
        to.write_all(&bytes[..count]).ok()?;
    }
    to.shutdown(Shutdown::Both).ok()
}
