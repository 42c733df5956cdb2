//! Where a server is, as one line of text.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

/// A server's address, perhaps with a login.
///
/// | | |
/// |---|---|
/// | `mqtt://host`, `mqtt://user:password@host:1883` | TCP; `tcp://` is the same |
/// | `mqtt://[2001:db8::1]` | TCP to an IPv6 address |
/// | `unix:/run/martlet.sock` | a Unix socket |
/// | `host`, `host:1883` | TCP |
///
/// User and password may be percent-encoded. What stands behind the host (`/topic` in
/// `mosquitto_sub -L`) is kept in [`path`](Self::path).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Url {
    /// How to get there.
    pub target: Target,
    /// The user name.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// What stands behind the host, without its slash and percent-decoded.
    pub path: Option<String>,
}

/// How to get to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// TCP.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port; 1883 unless the URL says otherwise.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(fault(text, "'unix:' is followed by the path of a socket"));
            }
            return Ok(Self {
                target: Target::Unix(path.into()),
                user: None,
                password: None,
                path: None,
            });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("mqtt", text));
        match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" | "tls" | "ws" | "wss" => {
                return Err(fault(text, "TLS and WebSocket are not supported yet"));
            }
            _ => return Err(fault(text, "the schemes are mqtt:// and unix:")),
        }
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path).filter(|path| !path.is_empty())),
            None => (rest, None),
        };
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        let decoded = |part: Option<&str>| part.map(|part| decode(text, part)).transpose();
        let (host, port) = host_and_port(text, host)?;
        Ok(Self {
            target: Target::Tcp { host, port },
            user: decoded(user)?,
            password: decoded(password)?,
            path: decoded(path)?,
        })
    }
}

impl fmt::Debug for Url {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

fn host_and_port(text: &str, host: &str) -> Result<(String, u16), Error> {
    let (host, port) = if let Some(bracketed) = host.strip_prefix('[') {
        let (address, behind) = bracketed
            .split_once(']')
            .ok_or_else(|| fault(text, "the bracket of the IPv6 address is not closed"))?;
        (address, behind.strip_prefix(':'))
    } else {
        match host.split_once(':') {
            Some((_, more)) if more.contains(':') => {
                return Err(fault(text, "an IPv6 address stands in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        }
    };
    if host.is_empty() {
        return Err(fault(text, "there is no host"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| fault(text, "the port is a number from 1 to 65535"))?,
    };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding.
fn decode(text: &str, part: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.split_at_checked(2);
        let value = digits.and_then(|(digits, _)| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        let value = value.ok_or_else(|| fault(text, "a '%' is followed by two hex digits"))?;
        bytes.push(value);
        rest = digits.map_or(rest, |(_, behind)| behind);
    }
    String::from_utf8(bytes).map_err(|_| fault(text, "percent-encoded text is not UTF-8"))
}

/// The error must not show a password.
fn fault(text: &str, what: &str) -> Error {
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        (_, None) => text.to_owned(),
    };
    Error::with_detail(ErrorKind::InvalidOption, format!("URL '{shown}': {what}"))
}

const DEFAULT_PORT: u16 = 1_883;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> (String, u16) {
        match Url::parse(text).unwrap().target {
            Target::Tcp { host, port } => (host, port),
            Target::Unix(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn urls_say_where_and_who() {
        assert_eq!(tcp("mqtt://a.example"), ("a.example".into(), 1883));
        assert_eq!(tcp("localhost:1884"), ("localhost".into(), 1884));
        assert_eq!(tcp("tcp://[::1]:99"), ("::1".into(), 99));
        let url = Url::parse("mqtt://me%40home:p%3Aw@host/a%20b").unwrap();
        assert_eq!(url.user.as_deref(), Some("me@home"));
        assert_eq!(url.password.as_deref(), Some("p:w"));
        assert_eq!(url.path.as_deref(), Some("a b"));
        let url = Url::parse("unix:/run/a.sock").unwrap();
        assert_eq!(url.target, Target::Unix("/run/a.sock".into()));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, what) in [
            ("mqtt://me:secret@host:0", "port"),
            ("mqtt://me:secret@::1", "brackets"),
            ("http://me:secret@x", "schemes"),
            ("mqtts://me:secret@x", "TLS"),
            ("me:%zz@x", "hex"),
            ("mqtt://", "no host"),
            ("unix:", "path"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            let said = error.to_string();
            assert!(said.contains(what) && !said.contains("secret"), "{said}");
        }
    }
}
