//! Taking addresses, opening them, and how many connections the system lets us have.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::builder::StartError;
use crate::config::Listener;

/// An address that was taken: nobody can connect before [`listen`].
pub(crate) struct Bound {
    address: SocketAddr,
    socket: Socket,
}

pub(crate) fn bind(address: SocketAddr, all: &[Listener]) -> Result<Bound, StartError> {
    let bind = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // Without it a restart would have to wait for the old connections' last minute.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` serves IPv4, too, unless a listener of its own does.
            let of_ipv4 = |other: &Listener| {
                other.address.is_ipv4() && other.address.port() == address.port()
            };
            socket.set_only_v6(all.iter().any(of_ipv4))?;
        }
        socket.set_nonblocking(true)?;
        if NODELAY_IS_INHERITED {
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&address.into())?;
        Ok(Bound { address, socket })
    };
    bind().map_err(|source| StartError::Bind { address, source })
}

/// Lets clients connect.
pub(crate) fn listen(bound: Vec<Bound>) -> Result<Vec<TcpListener>, StartError> {
    let listen = |Bound { address, socket }: Bound| match socket.listen(ACCEPT_BACKLOG) {
        Ok(()) => Ok(socket.into()),
        Err(source) => Err(StartError::Bind { address, source }),
    };
    bound.into_iter().map(listen).collect()
}

/// Raises the soft limit of open files; 90 % of it are for connections, the rest for files, listeners and those
/// that are just being closed.
pub(crate) fn connections_max(wanted: Option<usize>) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(FILES_ASSUMED);
    let share = usize::try_from(files / 10 * 9)
        .unwrap_or(usize::MAX)
        .clamp(1, CONNECTIONS_MAX);
    match wanted {
        Some(wanted) if wanted > share => {
            tracing::warn!(
                wanted,
                share,
                "connections_max is more than 90 % of the limit of open files, which is kept; raise it \
                 (ulimit -n)"
            );
            share
        }
        wanted => wanted.unwrap_or(share),
    }
}

/// What an operator can do about a listener that could not be opened.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        "; another program listens there: stop it, or choose another port"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need special rights: choose a higher one, as 1883"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address: choose one of its own, or 127.0.0.1"
    } else {
        ""
    }
}

/// Whether an accepted socket has its listener's `TCP_NODELAY`: one system call less for each connection.
pub(crate) const NODELAY_IS_INHERITED: bool = cfg!(target_os = "linux");
/// Connections that the kernel holds until we accept them.
const ACCEPT_BACKLOG: i32 = 4_096;
/// What to reckon with where the limit of open files cannot be read.
const FILES_ASSUMED: u64 = 1_024;
/// Connection numbers are 32 bits wide.
const CONNECTIONS_MAX: usize = 1 << 31;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::{NODELAY_IS_INHERITED, bind, listen};

    /// Optimisation: nobody has to ask for `TCP_NODELAY` connection by connection.
    #[test]
    fn accepted_sockets_do_not_wait_to_send() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), &[]).unwrap();
        let listener = listen(vec![bound]).unwrap().pop().unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.nodelay().unwrap(), NODELAY_IS_INHERITED);
    }
}
