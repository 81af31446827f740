//! `kinglet serve` under systemd: sockets that it opens, and what it is told.

use crate::serve::{CHAT, chat, model, with};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::server::{Answer, Server, rest};
use kinglet_tests::skip::skip;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const KEY: &str = "0123456789abcdef";

/// Has a command start as systemd starts it, with a socket of its own.
fn pass(command: &mut Command, socket: impl Into<OwnedFd>) {
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null";
    *command = within(command, "sh", &["-c", script, "sh"]);
    command.stdin(Stdio::from(socket.into()));
}

/// The command as the arguments of another one.
fn within(command: &Command, program: &str, args: &[&str]) -> Command {
    let mut outer = Command::new(program);
    outer.args(args).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

fn key_file(folder: &Path) -> String {
    let path = folder.join("key");
    std::fs::write(&path, KEY).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// Reads what the server tells until something comes that begins like this.
fn await_told(socket: &UnixDatagram, start: &str) -> String {
    let mut bytes = [0; 1024];
    loop {
        let length = socket.recv(&mut bytes).expect("the server tells something");
        let told = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if told.starts_with(start) {
            return told;
        }
    }
}

#[test]
fn the_service_manager_hears_how_the_server_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let server = Server::start_as(&model(), &["--listen", "127.0.0.1:0"], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "50000");
    });
    let ready = await_told(&socket, "READY=1\n");
    let (_, status) = ready.split_once("STATUS=listening on http://127.0.0.1:").unwrap();
    assert!(status.trim().parse::<u16>().is_ok(), "{ready}");
    for _ in 0..3 {
        await_told(&socket, "WATCHDOG=1\n");
    }
    let ask = with(&chat("one", 400, 1), json!({"stream": true})).to_string();
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    server.terminate();
    assert!(await_told(&socket, "STOPPING=1\n").contains("STATUS=ending"));
    assert!(rest(stream).ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "the reply was cut");
    assert!(server.wait().success());
}

#[test]
fn a_server_that_was_meant_for_another_manager_is_a_plain_one() {
    let server = Server::start_as(&model(), &["--listen", "127.0.0.1:0"], |command| {
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
        command.env("NOTIFY_SOCKET", "/nowhere/at/all").env("WATCHDOG_USEC", "soon");
    });
    assert_eq!(server.get("/health").status, 200);
}

/// What comes while no server runs waits in the socket, as systemd would keep it.
#[test]
fn an_idle_server_ends_and_comes_back_by_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || {
        let socket = listener.try_clone().unwrap();
        Server::start_as(&model(), &["--exit-idle", "1s"], |command| pass(command, socket))
    };
    for seed in 0..2 {
        // It takes longer than the server may be idle.
        let ask = with(&chat("one", 450, seed), json!({"n": 8})).to_string();
        let early = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let length = ask.len();
            let head = format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
            let request = format!("{head}Content-Length: {length}\r\n\r\n{ask}");
            stream.write_all(request.as_bytes()).unwrap();
            Answer::new(&rest(stream)).document()
        });
        let server = start();
        assert_eq!(server.address(), address);
        assert_eq!(early.join().unwrap()["choices"].as_array().unwrap().len(), 8);
        assert!(server.wait().success());
    }
}

#[test]
fn sockets_are_checked_like_addresses() {
    let folder = TempDir::new().unwrap();
    let refused = |socket: OwnedFd, args: &[&str], named: &str| {
        let mut command = kinglet(folder.path());
        command.arg("serve").arg(model()).args(args);
        pass(&mut command, socket);
        let said = Said::by(&mut command);
        assert!(said.err.contains(named), "{named}: {}", said.err);
        said.fails(2, 404);
    };
    let tcp = |address: &str| TcpListener::bind(address).unwrap();
    refused(tcp("0.0.0.0:0").into(), &[], "--api-key-file");
    refused(tcp("[::]:0").into(), &[], "--api-key-file");
    refused(tcp("127.0.0.1:0").into(), &["--listen", "127.0.0.1:0"], "leave --listen out");
    refused(UdpSocket::bind("127.0.0.1:0").unwrap().into(), &[], "does not listen for TCP");
    let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
    refused(unix.into(), &[], "does not listen for TCP");
    let listener = tcp("127.0.0.1:0");
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    refused(client.into(), &[], "Accept=no");
    refused(std::fs::File::open("/dev/null").unwrap().into(), &[], "no socket");
    let mut command = kinglet(folder.path());
    command.arg("serve").arg(model());
    let script = "export LISTEN_FDS=2 LISTEN_PID=$$; exec \"$@\"";
    let said = Said::by(&mut within(&command, "sh", &["-c", script, "sh"]));
    assert!(said.err.contains("2 sockets"), "{}", said.err);
    said.fails(2, 404);

    let key = key_file(folder.path());
    let server = Server::start_as(&model(), &["--api-key-file", &key], |command| {
        pass(command, tcp("0.0.0.0:0"));
    });
    let port = server.address().port();
    let ask = |header: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: board.lan\r\n{header}");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        Answer::new(&rest(stream)).status
    };
    assert_eq!(ask(""), 401);
    assert_eq!(ask(&format!("Authorization: Bearer {KEY}\r\n")), 200);
}

#[test]
fn systemd_hands_its_socket_over() {
    const ACTIVATE: &str = "systemd-socket-activate";
    if Command::new(ACTIVATE).arg("--version").output().is_err() {
        skip("systemd_hands_its_socket_over", format_args!("{ACTIVATE} is missing"));
        return;
    }
    // It does not say which port it took: this one was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        Answer::new(&rest(stream)).status
    });
    let server = Server::start_as(&model(), &["-q"], |command| {
        let listen = address.to_string();
        *command = within(command, ACTIVATE, &["-l", &listen]);
        command.stdin(Stdio::null());
    });
    assert_eq!(server.address(), address);
    assert_eq!(client.join().unwrap(), 200);
}
