//! Ports for servers that stop and start again.

use std::io;
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A free port of 127.0.0.1 that stays free while nobody listens there: from 20,000 to 29,999, below those that systems, unless they
/// are told otherwise, give to connections and to listeners that ask for any. One of those may be somebody else's before a server is back, even that of a
/// client that tries to connect to it, which ends up with a connection to itself.
pub fn lasting_port() -> io::Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let mut ports = (0..PORTS).filter_map(|_| {
        let next = process::id().wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        u16::try_from(20_000 + next % PORTS).ok()
    });
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports
        .find(is_free)
        .ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

/// How many ports are tried.
const PORTS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::{TcpListener, lasting_port};

    /// A test of the client failed when some other program had got the port of a broker that was to start again.
    #[test]
    fn nobody_gets_it_by_chance() {
        let ports = [lasting_port().unwrap(), lasting_port().unwrap()];
        assert_ne!(ports[0], ports[1]);
        // What a system gives by chance is a setting of it: by default 32,768 and more, or 49,152.
        for port in ports {
            assert!((20_000..30_000).contains(&port), "{port}");
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
