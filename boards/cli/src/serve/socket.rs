//! The socket that clients connect to: the server's own, or one that systemd has opened.

use kinglet::{Code, Error, Result};
use kinglet_quant::ensure;
use socket2::SockRef;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};
use std::{env, fs, process};

/// Where the server listens unless it is told otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The number of the first file that systemd hands over.
const FIRST_PASSED: i32 = 3;

/// Whose socket it is.
pub enum Door {
    /// One that systemd has opened, and keeps when the server ends.
    Passed(TcpListener),
    /// The server's own, which is opened once the model is there.
    Own(SocketAddr),
}

impl Door {
    /// What systemd has handed over, else `listen` or the default. To be called before the process
    /// opens any file, since what is handed over has fixed numbers.
    ///
    /// `BadArgument` for anything else than one listening TCP socket, for `listen` beside it, and
    /// for an address that others can reach where no key is asked for.
    pub fn find(listen: Option<SocketAddr>, has_key: bool) -> Result<Self> {
        let (door, address) = match passed()? {
            Some(listener) => {
                ensure!(
                    listen.is_none(),
                    Code::BadArgument,
                    "systemd has passed a socket: leave --listen out, and write the address into \
                     the socket's unit"
                );
                let address = listener.local_addr().map_err(|cause| unusable(&cause))?;
                (Self::Passed(listener), address)
            }
            None => {
                let address = listen.unwrap_or(DEFAULT);
                (Self::Own(address), address)
            }
        };
        ensure!(
            has_key || address.ip().is_loopback(),
            Code::BadArgument,
            "others can reach {address}: give the key that they must send with --api-key-file, or \
             listen on 127.0.0.1"
        );
        Ok(door)
    }

    /// The socket, ready for a loop that never waits in it. `BadArgument` for an address that
    /// cannot be listened on.
    pub fn open(self) -> Result<TcpListener> {
        let listener = match self {
            Self::Passed(listener) => listener,
            Self::Own(address) => TcpListener::bind(address).map_err(|cause| {
                let message =
                    format_args!("cannot listen on {address}: {cause}; choose another --listen");
                Error::new(Code::BadArgument, message)
            })?,
        };
        listener.set_nonblocking(true).map_err(|cause| unusable(&cause))?;
        Ok(listener)
    }
}

/// The socket that systemd has handed over, if it has.
fn passed() -> Result<Option<TcpListener>> {
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

fn unusable(cause: &std::io::Error) -> Error {
    Error::new(Code::BadArgument, format_args!("the socket cannot be used: {cause}"))
}
