//! The socket that clients connect to: the server's own, or one that systemd has opened.

use super::systemd;
use kinglet::{Code, Error, Result};
use kinglet_quant::ensure;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Where the server listens unless it is told otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

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
        let (door, address) = match systemd::passed()? {
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

/// A socket that the system refuses to work on.
pub fn unusable(cause: &std::io::Error) -> Error {
    Error::new(Code::BadArgument, format_args!("the socket cannot be used: {cause}"))
}
