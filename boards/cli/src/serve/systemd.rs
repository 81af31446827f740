//! What a process and systemd hand each other: a socket that listens, and lines about how it goes.

use super::socket::unusable;
use kinglet::{Code, Result};
use kinglet_quant::ensure;
use socket2::SockRef;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::{env, fs, io, process};

/// The number of the first file that systemd hands over.
const FIRST_PASSED: i32 = 3;

/// The socket that systemd has handed over, if it has.
pub fn passed() -> Result<Option<TcpListener>> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables may be meant for a process that has started this one.
    if number("LISTEN_PID") != Some(process::id()) {
        return Ok(None);
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    ensure!(
        count <= 1,
        Code::BadArgument,
        "systemd has passed {count} sockets: the server takes one ListenStream="
    );
    if count == 0 {
        return Ok(None);
    }
    let kind = fs::read_link(format!("/proc/self/fd/{FIRST_PASSED}"));
    let is_socket = kind.is_ok_and(|kind| kind.to_string_lossy().starts_with("socket:"));
    ensure!(is_socket, Code::BadArgument, "what systemd has passed is no socket");
    // SAFETY: the file is open, as was just seen. The variables say that it was handed to this
    // process, which has opened none of its own before, so that nothing else owns it.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(FIRST_PASSED) });
    // With that address and state it can be no datagram's.
    let listens = listener.local_addr().is_ok()
        && SockRef::from(&listener).is_listener().is_ok_and(|listens| listens);
    ensure!(
        listens,
        Code::BadArgument,
        "systemd has passed a socket that does not listen for TCP: write ListenStream=ADDRESS:PORT \
         and Accept=no into its unit"
    );
    // Programs that this one starts, such as a sensor's, do not get the copy.
    listener.try_clone().map(Some).map_err(|cause| unusable(&cause))
}

/// Where systemd hears how a service is.
pub struct Channel(UnixDatagram);

impl Channel {
    /// The channel to an address as systemd writes it: a path, or a name behind `@`.
    pub fn open(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not stop the server.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Tells lines. What cannot be told is lost.
    pub fn tell(&self, lines: &str) {
        let _ = self.0.send(lines.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("kinglet-test-{}", process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let heard = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ];
        for (socket, address) in heard {
            Channel::open(&address).unwrap().tell("READY=1\n");
            let mut told = [0; 16];
            let length = socket.recv(&mut told).unwrap();
            assert_eq!(&told[..length], b"READY=1\n");
        }
        assert!(Channel::open(OsStr::new("/nowhere/at all")).is_err());
    }
}
