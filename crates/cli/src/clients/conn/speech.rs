//! What does a port speak?
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "everything but silence is an answer"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// What a port speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::clients) enum Speech {
    Mqtt,
    Tls,
    Http,
    /// The start of what it said.
    Other(String),
    Nothing,
}

/// Judges by the first bytes.
pub(super) fn judge(bytes: &[u8]) -> Speech {
    match bytes {
        [] => Speech::Nothing,
        // A TLS record: alert or handshake, version 3.x.
        [0x15 | 0x16, 3, ..] => Speech::Tls,
        [0x20, 2 | 3, ..] => Speech::Mqtt,
        bytes if bytes.starts_with(b"HTTP/") => Speech::Http,
        bytes => {
            let line = bytes
                .split(|byte| matches!(byte, b'\r' | b'\n'))
                .next()
                .unwrap_or_default();
            let shown: String = String::from_utf8_lossy(line)
                .chars()
                .take(40)
                .map(|letter| if letter.is_control() { '.' } else { letter })
                .collect();
            Speech::Other(shown)
        }
    }
}

/// Says hello in two languages and listens. For after a failure: what works tells more than what does not.
pub(in crate::clients) fn listen_to(host: &str, port: u16) -> Speech {
    for hello in [CONNECT, CLIENT_HELLO] {
        match judge(&answer(host, port, hello)) {
            Speech::Nothing => {}
            Speech::Mqtt if hello == CLIENT_HELLO => {}
            speech => return speech,
        }
    }
    Speech::Nothing
}

fn answer(host: &str, port: u16, hello: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 256];
    let mut read = || -> std::io::Result<usize> {
        let address = (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(hello)?;
        stream.read(&mut bytes)
    };
    let count = read().unwrap_or(0);
    bytes.get(..count).unwrap_or_default().to_vec()
}

const PATIENCE: Duration = Duration::from_secs(2);
/// An MQTT 3.1.1 CONNECT without an identifier.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00";
/// The shortest hello of TLS 1.2 that every server answers, if only with an alert: one cipher, no extensions.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03martlet: what do you speak here?\x00\x00\x02\xc0\x2f\x01\x00";

#[cfg(test)]
mod tests {
    use super::{CLIENT_HELLO, Speech, judge};

    #[test]
    fn first_bytes_tell() {
        assert_eq!(judge(b"\x15\x03\x01\x00\x02\x02\x46"), Speech::Tls);
        assert_eq!(judge(b"\x16\x03\x03\x00\x31\x02"), Speech::Tls);
        assert_eq!(judge(b"\x20\x02\x00\x05"), Speech::Mqtt);
        assert_eq!(judge(b"HTTP/1.1 400 Bad Request\r\n"), Speech::Http);
        assert_eq!(
            judge(b"SSH-2.0-OpenSSH_9\r\n"),
            Speech::Other("SSH-2.0-OpenSSH_9".to_owned())
        );
        assert_eq!(judge(b""), Speech::Nothing);
    }

    #[test]
    fn the_hello_says_its_length_right() {
        assert_eq!(CLIENT_HELLO.len(), 5 + 0x2d);
        assert_eq!(0x2d, 4 + 0x29);
        assert_eq!(0x29, 2 + 32 + 1 + 2 + 2 + 2);
    }
}
