//! Where the broker is, as one word: `mqtt://[USER[:PASSWORD]@]HOST[:PORT][/TOPIC]`, `unix:PATH`.

use super::problem::Problem;
use crate::programs::Dialect;
use crate::settings::{DEFAULT_PORT, TLS_PORT};

/// What a URL says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) unix: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) topic: Option<String>,
    /// The scheme asks for TLS or WebSocket.
    pub(super) not_plain: Option<&'static str>,
}

/// Whether a word looks like a URL and not like a topic.
pub(super) fn looks_like_url(word: &str) -> bool {
    word.contains("://") || word.starts_with("unix:")
}

/// Reads a URL.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Url, Problem> {
    match dialect {
        Dialect::Martlet => ours(text),
        Dialect::Mosquitto => mosquittos(text),
    }
}

fn ours(text: &str) -> Result<Url, Problem> {
    let wrong = || Problem::UrlScheme(without_password(text));
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Url {
            unix: Some(path.to_owned()),
            ..Url::default()
        });
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let (port, not_plain) = match scheme.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => (DEFAULT_PORT, None),
        "mqtts" | "ssl" | "tls" => (TLS_PORT, Some("mqtts://")),
        "ws" => (80, Some("ws://")),
        "wss" => (443, Some("wss://")),
        _ => return Err(wrong()),
    };
    let (authority, topic) = match rest.split_once('/') {
        Some((authority, topic)) => (authority, Some(topic)),
        None => (rest, None),
    };
    let mut url = Url {
        not_plain,
        topic: topic.filter(|topic| !topic.is_empty()).map(str::to_owned),
        ..Url::default()
    };
    let mut place = authority;
    if let Some((who, host)) = authority.rsplit_once('@') {
        let (user, password) = match who.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (who, None),
        };
        let decoded = percent_decoded(user).and_then(|user| String::from_utf8(user).ok());
        url.user = Some(decoded.ok_or_else(wrong)?);
        url.password = password
            .map(|password| percent_decoded(password).ok_or_else(wrong))
            .transpose()?;
        place = host;
    }
    let (host, port_text) = host_and_port(place).ok_or_else(wrong)?;
    let port_given = port_text
        .map(|port| port.parse().map_err(|_| wrong()))
        .transpose()?;
    if host.is_empty() || port_given == Some(0) {
        return Err(wrong());
    }
    host.clone_into(&mut url.host);
    url.port = Some(port_given.unwrap_or(port));
    Ok(url)
}

/// `host`, `host:port`, `[::1]:port`
fn host_and_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    Some(match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    })
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(bytes)
}

/// The URL without what nobody should see.
fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            let who = text.get(scheme + 3..at).unwrap_or_default();
            let user = who.split(':').next().unwrap_or_default();
            format!(
                "{}{user}{}",
                text.get(..scheme + 3).unwrap_or_default(),
                text.get(at..).unwrap_or_default()
            )
        }
        _ => text.to_owned(),
    }
}

fn mosquittos(text: &str) -> Result<Url, Problem> {
    let starts = |scheme: &str| {
        let start = text.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| text.get(scheme.len()..))?
    };
    let (rest, port, not_plain) = if let Some(rest) = starts("mqtt://") {
        (rest, DEFAULT_PORT, None)
    } else if let Some(rest) = starts("mqtts://") {
        (rest, TLS_PORT, Some("-L"))
    } else {
        return Err(Problem::UrlScheme(text.to_owned()));
    };
    let (authority, topic) = rest
        .split_once('/')
        .ok_or_else(|| Problem::UrlTopic(text.to_owned()))?;
    let mut url = Url {
        topic: Some(topic.to_owned()),
        port: Some(port),
        not_plain,
        ..Url::default()
    };
    let mut place = authority;
    if let Some((who, host)) = authority.split_once('@') {
        let (user, password) = match who.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (who, None),
        };
        url.user = Some(user.to_owned());
        url.password = password.map(|password| password.as_bytes().to_vec());
        place = host;
    }
    if let Some((host, port)) = place.split_once(':') {
        url.port = u16::try_from(super::numbers::atoi(port)).ok();
        place = host;
    }
    place.clone_into(&mut url.host);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::{Url, parse};
    use crate::programs::Dialect::{Martlet, Mosquitto};

    #[test]
    fn a_url_says_where_who_and_what() {
        let url = parse("mqtt://jo:p%40ss@[::1]:1884/a/b", Martlet).unwrap();
        assert_eq!(
            url,
            Url {
                host: "::1".to_owned(),
                port: Some(1884),
                user: Some("jo".to_owned()),
                password: Some(b"p@ss".to_vec()),
                topic: Some("a/b".to_owned()),
                ..Url::default()
            }
        );
        let short = parse("mqtt://broker", Martlet).unwrap();
        assert_eq!(
            (short.host.as_str(), short.port, short.topic),
            ("broker", Some(1883), None)
        );
        let unix = parse("unix:/run/martlet.sock", Martlet).unwrap();
        assert_eq!(unix.unix.as_deref(), Some("/run/martlet.sock"));
        assert_eq!(parse("wss://h", Martlet).unwrap().not_plain, Some("wss://"));
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_password() {
        for wrong in [
            "http://u:secret@h",
            "mqtt://",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://[::1",
            "mqtt://u:%4@h",
        ] {
            let problem = parse(wrong, Martlet).unwrap_err().to_string();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn mosquittos_urls_have_a_topic() {
        assert!(parse("mqtt://h", Mosquitto).is_err());
        let url = parse("MQTT://u:p@h:99/x/y", Mosquitto).unwrap();
        assert_eq!((url.host.as_str(), url.port), ("h", Some(99)));
        assert_eq!(url.topic.as_deref(), Some("x/y"));
    }
}
