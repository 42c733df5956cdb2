//! What a case expects of a [`Client`]: the vocabulary of the cases.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a case waits for one kind of packet and refuses every other, also future ones"
)]

use std::time::{Duration, Instant};

use super::Client;
use super::client::Event;
use crate::case::{Verdict, check, check_eq, fail};
use crate::wire::{
    Ack, Acknowledge, Answer, ConnAck, Disconnect, Ended, Message, Packet, Ping, Publish, Subscribe,
};

/// Whether the broker has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Open,
    /// With what DISCONNECT, if any, it told.
    Closed(Option<Ended>),
}

impl Client {
    /// CONNACK as the very next packet.
    pub(crate) fn expect_connack(&mut self) -> Verdict<ConnAck> {
        match self.next("CONNACK")? {
            Packet::ConnAck(connack) => Ok(connack),
            other => fail(format!("expected CONNACK, got {}", other.describe())),
        }
    }

    /// The next PUBLISH; it is not acknowledged.
    pub(crate) fn expect_publish(&mut self) -> Verdict<Message> {
        match self.take("PUBLISH", |p| matches!(p, Packet::Publish(_)))? {
            Packet::Publish(message) => Ok(message),
            other => fail(format!("expected PUBLISH, got {}", other.describe())),
        }
    }

    /// The next PUBLISH, which must have this topic and payload; it is not acknowledged.
    pub(crate) fn expect_message(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Verdict<Message> {
        let message = self.expect_publish()?;
        let wanted = String::from_utf8_lossy(payload.as_ref()).into_owned();
        check_eq("topic of the PUBLISH", message.topic.as_str(), topic)?;
        check_eq("payload of the PUBLISH", message.text(), wanted)?;
        Ok(message)
    }

    /// PUBACK for `id`, with any reason code.
    pub(crate) fn expect_puback(&mut self, id: u16) -> Verdict<Ack> {
        self.expect_ack("PUBACK", id, |p| match p {
            Packet::PubAck(ack) => Some(ack),
            _ => None,
        })
    }

    /// PUBREC for `id`, with any reason code.
    pub(crate) fn expect_pubrec(&mut self, id: u16) -> Verdict<Ack> {
        self.expect_ack("PUBREC", id, |p| match p {
            Packet::PubRec(ack) => Some(ack),
            _ => None,
        })
    }

    /// PUBREL for `id`, with any reason code.
    pub(crate) fn expect_pubrel(&mut self, id: u16) -> Verdict<Ack> {
        self.expect_ack("PUBREL", id, |p| match p {
            Packet::PubRel(ack) => Some(ack),
            _ => None,
        })
    }

    /// PUBCOMP for `id`, with any reason code.
    pub(crate) fn expect_pubcomp(&mut self, id: u16) -> Verdict<Ack> {
        self.expect_ack("PUBCOMP", id, |p| match p {
            Packet::PubComp(ack) => Some(ack),
            _ => None,
        })
    }

    fn expect_ack(
        &mut self,
        name: &str,
        id: u16,
        pick: impl Fn(&Packet) -> Option<&Ack>,
    ) -> Verdict<Ack> {
        let packet = self.take(name, |p| pick(p).is_some())?;
        match pick(&packet) {
            Some(ack) if ack.id == id => Ok(ack.clone()),
            _ => fail(format!(
                "expected {name} for {id}, got {}",
                packet.describe()
            )),
        }
    }

    /// SUBACK for `id`.
    pub(crate) fn expect_suback(&mut self, id: u16) -> Verdict<Answer> {
        match self.take("SUBACK", |p| matches!(p, Packet::SubAck(_)))? {
            Packet::SubAck(codes) if codes.id == id => Ok(codes),
            other => fail(format!(
                "expected SUBACK for {id}, got {}",
                other.describe()
            )),
        }
    }

    /// UNSUBACK for `id`.
    pub(crate) fn expect_unsuback(&mut self, id: u16) -> Verdict<Answer> {
        match self.take("UNSUBACK", |p| matches!(p, Packet::UnsubAck(_)))? {
            Packet::UnsubAck(codes) if codes.id == id => Ok(codes),
            other => fail(format!(
                "expected UNSUBACK for {id}, got {}",
                other.describe()
            )),
        }
    }

    /// PINGRESP.
    pub(crate) fn expect_pingresp(&mut self) -> Verdict {
        self.take("PINGRESP", |p| matches!(p, Packet::PingResp))
            .map(drop)
    }

    /// The connection still works: PINGREQ is answered. Keeps what comes before the answer.
    pub(crate) fn expect_alive(&mut self) -> Verdict {
        self.send(Ping)?;
        self.expect_pingresp()
    }

    /// Nothing has come and nothing comes before the answer to a PINGREQ.
    ///
    /// Right for answers to this client's own packets; for what others publish, see
    /// [`Client::expect_silence`].
    pub(crate) fn expect_nothing(&mut self) -> Verdict {
        self.check_stash_empty()?;
        self.send(Ping)?;
        match self.next("PINGRESP")? {
            Packet::PingResp => Ok(()),
            other => fail(format!("expected nothing, got {}", other.describe())),
        }
    }

    /// Nothing that `publisher` has published before reaches this client: a marker that it
    /// publishes now arrives first. `publisher` must be idle.
    pub(crate) fn expect_silence(&mut self, publisher: &mut Self) -> Verdict {
        self.check_stash_empty()?;
        let id = self.fresh_id();
        let marker = self.marker(id);
        self.send(Subscribe::new(id).filter(&marker, 1))?;
        match self.next("SUBACK")? {
            Packet::SubAck(_) => {}
            other => return fail(format!("expected no message, got {}", other.describe())),
        }
        let publish_id = publisher.fresh_id();
        publisher.publish(&Publish::new(&marker, "marker").qos(1, publish_id))?;
        match self.next("the marker")? {
            Packet::Publish(message) if message.topic == marker => self.accept(&message),
            other => fail(format!("expected no message, got {}", other.describe())),
        }
    }

    /// No packet arrives for this long. Only for what needs a window of time.
    pub(crate) fn expect_quiet_for(&mut self, window: Duration) -> Verdict {
        self.check_stash_empty()?;
        match self.read(Instant::now() + window)? {
            Event::Timeout => Ok(()),
            Event::Closed => fail("the broker closed"),
            Event::Packet(p) => fail(format!("expected nothing, got {}", p.describe())),
        }
    }

    /// DISCONNECT (v5), then the close.
    pub(crate) fn expect_disconnect(&mut self) -> Verdict<Ended> {
        match self.expect_close()? {
            Some(ended) => Ok(ended),
            None => fail("expected DISCONNECT, but the broker just closed"),
        }
    }

    /// The broker closes because of what was sent. A v5 broker may tell why first, with one of the
    /// general codes 0x80 to 0x83.
    pub(crate) fn expect_closed(&mut self) -> Verdict {
        self.expect_closed_with(&[])
    }

    /// The broker closes; if it tells why, then with one of `codes` or of 0x80 to 0x83.
    pub(crate) fn expect_closed_with(&mut self, codes: &[u8]) -> Verdict {
        match self.expect_close()? {
            Some(ended) if !codes.contains(&ended.code) && !(0x80..=0x83).contains(&ended.code) => {
                fail(format!(
                    "closed with the unfitting reason 0x{:02X}",
                    ended.code
                ))
            }
            _ => Ok(()),
        }
    }

    /// The broker closes; nothing but one DISCONNECT comes before.
    pub(crate) fn expect_close(&mut self) -> Verdict<Option<Ended>> {
        self.check_stash_empty()?;
        let deadline = Instant::now() + self.timeout();
        let mut told = None;
        loop {
            match self.read(deadline)? {
                Event::Closed => return Ok(told),
                Event::Timeout => return fail("expected a close, but the connection stays open"),
                Event::Packet(Packet::Disconnect(ended)) if told.is_none() => told = Some(ended),
                Event::Packet(other) => {
                    return fail(format!("expected a close, got {}", other.describe()));
                }
            }
        }
    }

    /// Whether the broker closes within `window`, and what it says; messages are passed over.
    pub(crate) fn wait_for_close(&mut self, window: Duration) -> Verdict<Wait> {
        let deadline = Instant::now() + window;
        let mut told = None;
        loop {
            match self.read(deadline)? {
                Event::Closed => return Ok(Wait::Closed(told)),
                Event::Timeout => return Ok(Wait::Open),
                Event::Packet(Packet::Publish(_)) => {}
                Event::Packet(Packet::Disconnect(ended)) => told = Some(ended),
                Event::Packet(other) => {
                    return fail(format!("expected a close, got {}", other.describe()));
                }
            }
        }
    }

    /// The broker closes after a CONNECT that it refuses; it may send one CONNACK first.
    pub(crate) fn expect_refused(&mut self) -> Verdict<Option<ConnAck>> {
        let deadline = Instant::now() + self.timeout();
        let mut told = None;
        loop {
            match self.read(deadline)? {
                Event::Closed => return Ok(told),
                Event::Timeout => return fail("expected a close, but the connection stays open"),
                Event::Packet(Packet::ConnAck(connack)) if told.is_none() => {
                    check(connack.code != 0, "the CONNECT was accepted")?;
                    told = Some(connack);
                }
                Event::Packet(other) => {
                    return fail(format!("expected a close, got {}", other.describe()));
                }
            }
        }
    }

    /// CONNACK of either kind, or the close.
    pub(crate) fn expect_close_or_connack(&mut self) -> Verdict<Option<ConnAck>> {
        match self.read(Instant::now() + self.timeout())? {
            Event::Closed => Ok(None),
            Event::Packet(Packet::ConnAck(connack)) => Ok(Some(connack)),
            Event::Packet(other) => fail(format!("expected CONNACK, got {}", other.describe())),
            Event::Timeout => fail("expected CONNACK or a close, but nothing came"),
        }
    }

    /// Says a normal goodbye and waits until the broker has closed, so that it is known to have
    /// seen it. Messages that cross the goodbye are ignored.
    pub(crate) fn disconnect(&mut self) -> Verdict {
        self.disconnect_with(&Disconnect::new())
    }

    /// As [`Client::disconnect`], with another DISCONNECT.
    pub(crate) fn disconnect_with(&mut self, goodbye: &Disconnect) -> Verdict {
        self.send(goodbye)?;
        let deadline = Instant::now() + self.timeout();
        loop {
            match self.read(deadline)? {
                Event::Closed => return Ok(()),
                Event::Timeout => return fail("the broker keeps open after DISCONNECT"),
                Event::Packet(Packet::Disconnect(ended)) => {
                    return fail(format!("DISCONNECT was answered with 0x{:02X}", ended.code));
                }
                Event::Packet(_) => {}
            }
        }
    }

    /// Subscribes to one filter and returns the granted QoS; a refusal ends the case.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) -> Verdict<u8> {
        let id = self.fresh_id();
        self.subscribe_with(id, &Subscribe::new(id).filter(filter, options))
    }

    /// Sends a SUBSCRIBE of one filter with this packet identifier; returns the granted QoS.
    pub(crate) fn subscribe_with(&mut self, id: u16, subscribe: &Subscribe) -> Verdict<u8> {
        self.send(subscribe)?;
        let suback = self.expect_suback(id)?;
        match suback.codes.as_slice() {
            [granted @ 0..=2] => Ok(*granted),
            codes => fail(format!("SUBSCRIBE was answered with {codes:02X?}")),
        }
    }

    /// Publishes and goes through the whole handshake of the QoS; a refusal ends the case.
    pub(crate) fn publish(&mut self, publish: &Publish) -> Verdict {
        self.send(publish)?;
        let ack = match publish.qos {
            1 => self.expect_puback(publish.id)?,
            2 => self.expect_pubrec(publish.id)?,
            _ => return Ok(()),
        };
        check(ack.code < 0x80, "the PUBLISH was refused")?;
        if publish.qos == 2 {
            self.send(Acknowledge::pubrel(publish.id))?;
            let done = self.expect_pubcomp(publish.id)?;
            check_eq("reason of PUBCOMP", done.code, 0)?;
        }
        Ok(())
    }

    /// Publishes at QoS 1 with a fresh packet identifier and waits for PUBACK.
    pub(crate) fn publish_acked(&mut self, topic: &str, payload: &str) -> Verdict {
        let id = self.fresh_id();
        self.publish(&Publish::new(topic, payload).qos(1, id))
    }

    /// Acknowledges a message that came, through the whole handshake of its QoS.
    pub(crate) fn accept(&mut self, message: &Message) -> Verdict {
        match message.qos {
            1 => self.send(Acknowledge::puback(message.id)),
            2 => {
                self.send(Acknowledge::pubrec(message.id))?;
                let pubrel = self.expect_pubrel(message.id)?;
                check_eq("reason of PUBREL", pubrel.code, 0)?;
                self.send(Acknowledge::pubcomp(message.id))
            }
            _ => Ok(()),
        }
    }
}
