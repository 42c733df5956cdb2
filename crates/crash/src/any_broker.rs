//! `martlet-crash fill` and `martlet-crash drain`: what any broker that speaks 3.1.1 loses at `kill -9`.
//!
//! `fill` makes sessions that outlive their connections, publishes to them with QoS 1 until the broker is killed by
//! whoever started it, and writes down what was acknowledged; one retained message of each publisher is replaced all the
//! time. `drain`, after the broker's return, lets the sessions come back and counts what is missing of that. Nothing
//! else is judged: what was not acknowledged may arrive or not, and repetitions are allowed at QoS 1.
//!
//! Map: [`fill`] and [`drain`] are the two halves, [`Book`] is the file between them, [`Wire`] a blocking connection.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use martlet_codec::{
    Ack, Connect, Decoded, Disconnect, Packet, PacketId, Properties, Publish, QoS, ReasonCode,
    Rules, Sender, Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName,
    Version, decode,
};

/// What was typed behind `fill` or `drain`.
#[derive(Debug)]
pub(crate) struct Options {
    port: u16,
    book: PathBuf,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        match words {
            [port, port_value, book, book_value] if port == "--port" && book == "--book" => {
                Ok(Self {
                    port: port_value
                        .parse()
                        .map_err(|_| format!("--port {port_value}: no port"))?,
                    book: PathBuf::from(book_value),
                })
            }
            _ => Err("fill and drain take --port PORT --book FILE".to_owned()),
        }
    }
}

/// What one publisher was promised.
#[derive(Debug, Default, PartialEq, Eq)]
struct Promised {
    /// Numbers of acknowledged messages to the session.
    messages: Vec<u32>,
    /// Number of the last acknowledged retained message.
    retained: Option<u32>,
}

/// What all publishers were promised, in a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Book(Vec<Promised>);

impl Book {
    /// One line for each publisher: the retained number or `-`, then the others.
    fn text(&self) -> String {
        let mut text = String::new();
        for promised in &self.0 {
            let retained = promised
                .retained
                .map_or_else(|| "-".to_owned(), |number| number.to_string());
            let numbers: Vec<String> = promised.messages.iter().map(u32::to_string).collect();
            text.extend([&retained, " ", &numbers.join(" "), "\n"]);
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let promised = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let retained = match words.next()? {
                "-" => None,
                number => Some(number.parse().ok()?),
            };
            let messages = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
            Some(Promised { messages, retained })
        };
        text.lines().map(promised).collect::<Option<_>>().map(Self)
    }

    fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string(path)?)
            .ok_or_else(|| io::Error::other(format!("{} is no book of fill", path.display())))
    }
}

/// Publishes until the connections end; the book then says what was acknowledged.
pub(crate) fn fill(options: &Options) -> io::Result<()> {
    for pair in 0..PAIRS {
        let mut session = Wire::connect(options.port, &session_id(pair), false)?.0;
        session.subscribe(&topic(pair))?;
        session.say_goodbye()?;
    }
    let port = options.port;
    let publishers: Vec<_> = (0..PAIRS)
        .map(|pair| thread::spawn(move || publish(port, pair)))
        .collect();
    let mut book = Book::default();
    for publisher in publishers {
        let promised = publisher
            .join()
            .map_err(|_| io::Error::other("a publisher panicked"))??;
        book.0.push(promised);
    }
    std::fs::write(&options.book, book.text())
}

/// One publisher, up to the end of its connection.
fn publish(port: u16, pair: usize) -> io::Result<Promised> {
    let (mut wire, _) = Wire::connect(port, &format!("crash-publisher-{pair}"), true)?;
    let mut promised = Promised::default();
    let (messages, retained) = (topic(pair), retained_topic(pair));
    let (mut sent, mut acknowledged) = (0_u32, 0_u32);
    loop {
        while sent - acknowledged < WINDOW {
            let retain = sent % RETAINED_EVERY == 0;
            let to = if retain { &retained } else { &messages };
            wire.publish(to, sent, retain);
            sent += 1;
        }
        // The end is the broker's, and it is what this waits for.
        if wire.flush().is_err() {
            return Ok(promised);
        }
        let Ok(identifiers) = wire.read_some(usize::MAX, |packet| {
            if let Packet::PubAck(ack) = packet {
                Some(u32::from(ack.packet_id.get()))
            } else {
                None
            }
        }) else {
            return Ok(promised);
        };
        for identifier in identifiers {
            // Acknowledgements come in the order of the messages [MQTT-4.6.0-2].
            let number = acknowledged;
            if identifier != packet_id(number) {
                return Err(io::Error::other(format!(
                    "PUBACK {identifier} instead of {}",
                    packet_id(number)
                )));
            }
            acknowledged += 1;
            if number % RETAINED_EVERY == 0 {
                promised.retained = Some(number);
            } else {
                promised.messages.push(number);
            }
        }
    }
}

/// Lets the sessions come back and prints what is missing, one object of JSON.
pub(crate) fn drain(options: &Options) -> io::Result<()> {
    let book = Book::read(&options.book)?;
    let mut missing = Missing::default();
    for (pair, promised) in book.0.iter().enumerate() {
        missing.add(options.port, pair, promised)?;
    }
    println!(
        "{{\"acknowledged\":{},\"lost\":{},\"sessions\":{},\"sessions_lost\":{},\"retained\":{},\"retained_lost\":{}}}",
        missing.acknowledged,
        missing.lost,
        book.0.len(),
        missing.sessions_lost,
        missing.retained,
        missing.retained_lost,
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Missing {
    acknowledged: usize,
    lost: usize,
    sessions_lost: usize,
    retained: usize,
    retained_lost: usize,
}

impl Missing {
    fn add(&mut self, port: u16, pair: usize, promised: &Promised) -> io::Result<()> {
        let (mut wire, present) = Wire::connect(port, &session_id(pair), false)?;
        self.sessions_lost += usize::from(!present);
        let mut arrived = HashSet::new();
        while promised
            .messages
            .iter()
            .any(|number| !arrived.contains(number))
        {
            let numbers = wire.read_messages()?;
            if numbers.is_empty() {
                break;
            }
            arrived.extend(numbers);
        }
        self.acknowledged += promised.messages.len();
        let lost = promised
            .messages
            .iter()
            .filter(|number| !arrived.contains(number));
        self.lost += lost.count();
        if let Some(last) = promised.retained {
            let (mut asker, _) = Wire::connect(port, &format!("crash-asker-{pair}"), true)?;
            asker.subscribe(&retained_topic(pair))?;
            let kept = asker.read_messages()?;
            self.retained += 1;
            self.retained_lost += usize::from(!kept.iter().any(|number| *number >= last));
        }
        Ok(())
    }
}

/// A blocking connection in 3.1.1.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Wire {
    /// Connects; says whether the broker had the session.
    fn connect(port: u16, client_id: &str, clean: bool) -> io::Result<(Self, bool)> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(QUIET))?;
        let mut wire = Self {
            stream,
            unread: Vec::new(),
            unsent: Vec::new(),
        };
        wire.put(&Packet::Connect(Connect {
            version: Version::V311,
            clean_start: clean,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_id,
            will: None,
            user_name: None,
            password: None,
        }));
        wire.flush()?;
        // What comes behind CONNACK is for later.
        let answers = wire.read_some(1, |packet| {
            if let Packet::ConnAck(answer) = packet {
                Some((answer.reason, answer.session_present))
            } else {
                None
            }
        })?;
        match answers.as_slice() {
            [(ReasonCode::Success, present)] => Ok((wire, *present)),
            _ => Err(io::Error::other("CONNECT was refused")),
        }
    }

    /// Asks; SUBACK and messages come in whatever order.
    fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            ..SubscriptionOptions::default()
        };
        let mut filters = SubscribeFiltersBuf::default();
        filters.push(TopicFilter::new(filter).map_err(io::Error::other)?, options);
        self.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }));
        self.flush()
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        // A session's subscription counts when SUBACK has come.
        self.read_some(1, |packet| {
            matches!(packet, Packet::SubAck(_)).then_some(())
        })?;
        self.put(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }));
        self.flush()
    }

    fn publish(&mut self, topic: &str, number: u32, retain: bool) {
        let mut payload = [0x2e; PAYLOAD_BYTES];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let id = u16::try_from(packet_id(number))
            .ok()
            .and_then(PacketId::new);
        self.put(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain,
            topic: TopicName::new(topic).ok(),
            packet_id: id,
            properties: Properties::EMPTY,
            payload: &payload,
        }));
    }

    fn put(&mut self, packet: &Packet<'_>) {
        packet
            .encode(Version::V311, &mut self.unsent)
            .expect("a legal packet");
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// Messages that arrive, acknowledged; empty if it has been quiet for long.
    fn read_messages(&mut self) -> io::Result<Vec<u32>> {
        let found = self.read_some(usize::MAX, |packet| {
            let Packet::Publish(publish) = packet else {
                return None;
            };
            let number = publish.payload.first_chunk().copied()?;
            Some((u32::from_be_bytes(number), publish.packet_id))
        });
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            other => other?,
        };
        for packet_id in found.iter().filter_map(|(_, packet_id)| *packet_id) {
            self.put(&Packet::PubAck(Ack::success(packet_id)));
        }
        self.flush()?;
        Ok(found.into_iter().map(|(number, _)| number).collect())
    }

    /// Reads until there is a packet that `wanted` knows; at most `limit` of them, as far as they are there.
    fn read_some<T>(
        &mut self,
        limit: usize,
        wanted: impl Fn(&Packet<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        loop {
            let mut at = 0;
            while found.len() < limit
                && let Decoded::Packet { packet, length } =
                    decode(&self.unread[at..], RULES).map_err(io::Error::other)?
            {
                found.extend(wanted(&packet));
                at += length;
            }
            self.unread.drain(..at);
            if !found.is_empty() {
                return Ok(found);
            }
            let mut bytes = [0; 16 * 1024];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }
}

fn session_id(pair: usize) -> String {
    format!("crash-session-{pair}")
}

fn topic(pair: usize) -> String {
    format!("crash/queue/{pair}")
}

fn retained_topic(pair: usize) -> String {
    format!("crash/state/{pair}")
}

/// Of the message with this number; never one that is under way.
const fn packet_id(number: u32) -> u32 {
    number % 60_000 + 1
}

/// Publishers, and sessions.
const PAIRS: usize = 8;
/// Unacknowledged messages of a publisher.
const WINDOW: u32 = 20;
/// One message in so many is retained.
const RETAINED_EVERY: u32 = 10;
const PAYLOAD_BYTES: usize = 256;
/// Behind this silence nothing more is expected.
const QUIET: Duration = Duration::from_secs(3);
const RULES: Rules = Rules {
    version: Version::V311,
    sender: Sender::Server,
    max_packet_size: u32::MAX,
};

#[cfg(test)]
mod tests {
    use super::{Book, Options, PathBuf, Promised};

    #[test]
    fn a_book_reads_what_it_wrote() {
        let book = Book(vec![
            Promised {
                messages: vec![1, 2, 70_000],
                retained: Some(60),
            },
            Promised::default(),
        ]);
        assert_eq!(Book::parse(&book.text()), Some(book));
        assert_eq!(Book::parse("x"), None);
        assert_eq!(Book::parse("- 1 y"), None);
    }

    #[test]
    fn both_options_are_needed() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = Options::parse(&words("--port 1 --book b")).unwrap();
        assert_eq!((options.port, options.book), (1, PathBuf::from("b")));
        for wrong in ["--port x --book b", "--port 1", "--book b --port 1 --more"] {
            assert!(Options::parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
