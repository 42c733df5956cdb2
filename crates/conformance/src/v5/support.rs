//! Steps that many cases share.

use std::collections::VecDeque;
use std::time::Duration;

use crate::case::{During, Failure, Verdict, Version, check, fail, skip};
use crate::harness::{Client, Target};
use crate::wire::{ConnAck, Connect, Encode, Message, Packet, Publish, Subscribe, parse, prop};

/// A fresh, connected client sends `packet`; the broker closes. If it tells why, then with one of
/// `codes` or of 0x80 to 0x83.
pub(super) fn closes(target: &Target, what: &str, packet: impl Encode, codes: &[u8]) -> Verdict {
    let mut client = target.client(Version::V5)?;
    client
        .send(packet)
        .and_then(|()| client.expect_closed_with(codes))
        .during(what)
}

/// The broker does not accept this CONNECT: it closes, perhaps after a CONNACK that says why.
pub(super) fn refuses(target: &Target, what: &str, connect: impl Encode) -> Verdict {
    let mut client = target.open(Version::V5)?;
    client
        .send(connect)
        .and_then(|()| client.expect_refused())
        .during(what)
        .map(drop)
}

/// As [`refuses`], where the broker may take the CONNECT for one of another protocol version and
/// answer in the form of that.
pub(super) fn refuses_in_any_form(target: &Target, what: &str, connect: impl Encode) -> Verdict {
    let mut client = target.open(Version::V5)?;
    client.send(connect)?;
    let bytes = client.read_to_close().during(what)?;
    if bytes.is_empty() {
        return Ok(());
    }
    let told = |version| match parse(version, &bytes) {
        Ok(Some((Packet::ConnAck(connack), size))) => connack.code != 0 && size == bytes.len(),
        _ => false,
    };
    if told(Version::V5) || told(Version::V311) {
        Ok(())
    } else {
        fail(format!(
            "{what}: expected at most a refusing CONNACK, got {bytes:02X?}"
        ))
    }
}

/// The broker does not carry out this SUBSCRIBE of broken filters: it closes, or SUBACK reports a
/// failure for each.
pub(super) fn filter_refused(target: &Target, filter: &str) -> Verdict {
    let mut client = target.client(Version::V5)?;
    client.send(Subscribe::new(1).filter(filter, 0))?;
    let what = format!("filter {filter:?}");
    match client.next("SUBACK or a close") {
        Ok(Packet::SubAck(suback)) if suback.codes.iter().all(|code| *code >= 0x80) => Ok(()),
        Ok(other) if !matches!(other, Packet::Disconnect(_)) => fail(format!(
            "{what}: expected a refusal, got {}",
            other.describe()
        )),
        // After DISCONNECT, or without one: asking again tells a close from silence.
        Ok(_) | Err(_) => client.expect_closed().during(&what),
    }
}

/// Connects to a session that outlives the connection; skips if the broker keeps none.
pub(super) fn persistent(target: &Target, connect: Connect) -> Verdict<(Client, ConnAck)> {
    let (client, connack) = target.connect(&connect.expiry(SESSION_S))?;
    if connack.props.number(prop::SESSION_EXPIRY) == Some(0) {
        return skip("the broker keeps no sessions");
    }
    Ok((client, connack))
}

/// Ends a persistent session, so that nothing of the case stays in the broker.
pub(super) fn end_session(target: &Target, id: &str) -> Verdict {
    target.connect(&Connect::v5(id))?.0.disconnect()
}

/// Tries every item and tells of the first few that fail, so that one deviation does not hide the
/// next.
pub(super) fn each<T>(
    items: impl IntoIterator<Item = T>,
    mut step: impl FnMut(T) -> Verdict,
) -> Verdict {
    let mut failures = Vec::new();
    for item in items {
        match step(item) {
            Ok(()) => {}
            Err(Failure::Failed(what)) => failures.push(what),
            Err(skipped) => return Err(skipped),
        }
        if failures.len() == FAILURES_TOLD_MAX {
            break;
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        fail(failures.join("; "))
    }
}

/// As [`each`], for steps that have already been made.
pub(super) fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    each(verdicts, |verdict| verdict)
}

/// Deletes a retained message.
pub(super) fn clear_retained(client: &mut Client, topic: &str) -> Verdict {
    let id = client.fresh_id();
    client.publish(&Publish::new(topic, "").retain().qos(1, id))
}

/// Everything that comes to `client` before a marker that `publisher` sends now at QoS 1; all is
/// accepted.
pub(super) fn collect(client: &mut Client, publisher: &mut Client) -> Verdict<Vec<Message>> {
    let id = client.fresh_id();
    let marker = client.marker(id);
    client.subscribe_with(id, &Subscribe::new(id).filter(&marker, 1))?;
    publisher.publish_acked(&marker, "marker")?;
    let mut messages = Vec::new();
    loop {
        let message = client.expect_publish()?;
        client.accept(&message)?;
        if message.topic == marker {
            return Ok(messages);
        }
        messages.push(message);
    }
}

/// A stream of QoS 1 messages that keeps within the broker's Receive Maximum: acknowledgements are
/// read as the window fills.
pub(super) struct Pipeline {
    open: VecDeque<u16>,
    window: usize,
}

impl Pipeline {
    pub(super) fn new(target: &Target) -> Verdict<Self> {
        let window = target
            .capabilities()?
            .receive_maximum
            .min(WINDOW_MAX)
            .into();
        Ok(Self {
            open: VecDeque::new(),
            window,
        })
    }

    pub(super) fn send(&mut self, client: &mut Client, publish: &Publish) -> Verdict {
        if self.open.len() == self.window {
            self.settle_one(client)?;
        }
        self.open.push_back(publish.id);
        client.send(publish)
    }

    /// Waits for the acknowledgements that are still due.
    pub(super) fn finish(mut self, client: &mut Client) -> Verdict {
        while !self.open.is_empty() {
            self.settle_one(client)?;
        }
        Ok(())
    }

    fn settle_one(&mut self, client: &mut Client) -> Verdict {
        let Some(id) = self.open.pop_front() else {
            return Ok(());
        };
        let ack = client.expect_puback(id)?;
        check(ack.code < 0x80, "the PUBLISH was refused")
    }
}

/// The payloads as text.
pub(super) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}

/// How long persistent sessions of the cases live; longer than any case.
const SESSION_S: u32 = 60;

/// Enough to make messages overlap; less than what small brokers allow.
const WINDOW_MAX: u16 = 20;

/// Each failure may cost a time-out.
const FAILURES_TOLD_MAX: usize = 8;

/// Given to what must not come, where no marker can follow it on the same way.
pub(super) const STRAGGLERS: Duration = Duration::from_millis(100);
