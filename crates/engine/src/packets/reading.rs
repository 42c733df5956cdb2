//! Bytes of a client: one packet after the other.
//!
//! What a broker mostly gets takes a short way: a PUBLISH to the topic of the connection's last message, and
//! acknowledgements that say yes (`runs.rs`). What all packets of one read have in common ([`Online`], the last route) is
//! looked up once and handed down.

use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::{Ack, Decoded, Packet, Publish, Rules, Sender, Version, decode};

use crate::clients::connection::{Connection, Phase};
use crate::collections::slab::Key;
use crate::effects::{ConnId, Effects};
use crate::packets::ahead::AHEAD_MAX;
use crate::report::CloseCause;
use crate::routing::routes::Route;
use crate::shard::{Flow, Shard};
use crate::time::Time;

/// A client whose packet is dealt with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Online {
    pub(crate) conn: Key,
    pub(crate) session: Key,
    pub(crate) version: Version,
}

/// A packet as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the connection's last message went.
    pub(crate) route: Option<&'a Arc<Route>>,
}

impl Online {
    fn of(conn: Key, connection: &Connection) -> Option<Self> {
        Some(Self {
            conn,
            session: connection.session?,
            version: connection.version(),
        })
    }
}

impl Shard {
    /// Bytes have arrived, in front of them what was left over the last time. Returns how many are
    /// consumed; the rest is presented again with more behind it, or when `effects.resumed` names the connection.
    pub fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Time, fx: &mut Effects) -> usize {
        let mut consumed = 0;
        let connection = self.connections.get_mut(conn.0);
        // Out of the connection for as long as it is read: its topic is compared with those that come.
        let mut route = connection.and_then(|connection| connection.route.take());
        let takes_runs = |route: &Option<Arc<Route>>| route.as_ref().is_some_and(|r| r.takes_runs);
        // Whether its messages may be taken in runs, and whether it stays with its topic, as far as we know.
        let mut repeats = takes_runs(&route);
        // How many of the next messages it may help to look up together.
        let mut most_ahead = AHEAD_MAX;
        while let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
            if repeats && let Some(known) = &route {
                let length = self.next_repeats(conn.0, rest, known, now, fx);
                consumed += length;
                if length > 0 {
                    continue;
                }
            }
            if most_ahead > 0 && self.scratch.ahead.is_empty() && Publish::begins(rest) {
                let last = route.as_ref().map_or("", |route| route.topic());
                most_ahead = self.look_ahead(conn.0, rest, last, most_ahead);
            }
            if let Some(known) = self.scratch.ahead.pop() {
                self.scratch.behind.extend(route.replace(known));
            }
            let before = route.as_ref().map(Arc::as_ptr);
            let Some(length) = self.next_packet(conn.0, rest, &mut route, now, fx) else {
                break;
            };
            consumed += length;
            repeats = self.scratch.ahead.is_empty()
                && takes_runs(&route)
                && route.as_ref().map(Arc::as_ptr) == before;
        }
        self.forget_routes();
        if let Some(connection) = self.connections.get_mut(conn.0) {
            connection.route = route;
        } else if !fx.handovers.iter().any(|handover| handover.conn == conn) {
            consumed = bytes.len();
        }
        self.settle(now, fx);
        consumed
    }

    /// As [`Shard::on_bytes`], of memory that outboxes may go on using: if it is one large PUBLISH, its payload is not copied for
    /// them. Who has lent it may change it again when nobody else holds it any more.
    pub fn on_lent_bytes(
        &mut self,
        conn: ConnId,
        memory: &Arc<Vec<u8>>,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        self.scratch.lent = Some(Arc::clone(memory));
        let consumed = self.on_bytes(conn, memory, now, fx);
        self.scratch.lent = None;
        consumed
    }

    /// Deals with the first packet, and those behind it that are like it. `None`: nothing is consumed, and nothing more will be now.
    fn next_packet(
        &mut self,
        conn: Key,
        bytes: &[u8],
        route: &mut Option<Arc<Route>>,
        now: Time,
        fx: &mut Effects,
    ) -> Option<usize> {
        let connection = self.connections.get_mut(conn)?;
        if connection.parked.is_some() {
            return None;
        }
        let rules = Rules {
            version: connection.version(),
            sender: Sender::Client,
            max_packet_size: self.config.limits.packet_bytes_max,
        };
        let known = route.as_ref();
        let client = Online::of(conn, connection);
        let (flow, length) = if let Some(client) = client
            && let Some((publish, length)) =
                Publish::decode_simple(bytes, rules, known.map(|route| route.topic()))
        {
            connection.keep_alive.on_packet(now.as_millis());
            self.counters.packets_received += 1;
            let raw = Raw {
                bytes: bytes.get(..length).unwrap_or_default(),
                route: known,
            };
            (self.on_publish(client, &publish, raw, now, fx), length)
        } else if let Some(client) = client
            && let Some(acks) = Ack::decode_short_run(bytes, rules)
        {
            connection.keep_alive.on_packet(now.as_millis());
            let taken = self.on_short_acks(client, acks, now, fx);
            (Flow::Taken, taken * Ack::SHORT_LEN)
        } else {
            self.next_of_any_type(conn, bytes, rules, known, now, fx)?
        };
        if let Some(next) = self.scratch.route.take() {
            *route = Some(next);
        }
        match flow {
            Flow::Taken => Some(length),
            Flow::NotNow => None,
        }
    }

    /// The first packet, whatever it is. A function of its own, so that the loop around the frequent ones stays one.
    #[inline(never)]
    fn next_of_any_type(
        &mut self,
        conn: Key,
        bytes: &[u8],
        rules: Rules,
        route: Option<&Arc<Route>>,
        now: Time,
        fx: &mut Effects,
    ) -> Option<(Flow, usize)> {
        match decode(bytes, rules) {
            Ok(Decoded::Incomplete { .. }) => None,
            Ok(Decoded::Packet { packet, length }) => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.keep_alive.on_packet(now.as_millis());
                }
                let bytes = bytes.get(..length).unwrap_or_default();
                let raw = Raw { bytes, route };
                Some((self.on_packet(conn, packet, raw, now, fx), length))
            }
            Err(error) => {
                self.on_malformed(conn, bytes, error, now, fx);
                None
            }
        }
    }

    /// As many PUBLISH packets to the topic of the last one as may be taken at once; 0 if there is none.
    fn next_repeats(
        &mut self,
        conn: Key,
        bytes: &[u8],
        route: &Route,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        if !Publish::begins(bytes) || !self.takes_repeats(route) {
            return 0;
        }
        let Some(connection) = self.connections.get(conn) else {
            return 0;
        };
        let Some(client) = Online::of(conn, connection).filter(|_| connection.parked.is_none())
        else {
            return 0;
        };
        let rules = Rules {
            version: client.version,
            sender: Sender::Client,
            max_packet_size: self.config.limits.packet_bytes_max,
        };
        self.on_repeats(client, bytes, rules, route, now, fx)
    }

    #[inline]
    fn on_packet(
        &mut self,
        conn: Key,
        packet: Packet<'_>,
        raw: Raw<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Flow {
        self.counters.packets_received += 1;
        let Some(connection) = self.connections.get(conn) else {
            return Flow::Taken;
        };
        if let Some(client) = Online::of(conn, connection) {
            return self.on_packet_online(client, packet, raw, now, fx);
        }
        match (connection.phase, packet) {
            (Phase::AwaitConnect, Packet::Connect(connect)) => {
                return self.on_connect(conn, &connect, raw.bytes, now, fx);
            }
            (Phase::Authenticating, Packet::Auth(auth)) => self.on_auth(conn, &auth, now, fx),
            (Phase::Authenticating, Packet::Disconnect(disconnect)) => {
                self.close(
                    conn,
                    CloseCause::ClientDisconnected(disconnect.reason),
                    now,
                    fx,
                );
            }
            (_, packet) => {
                //= mqtt5 3.1.0-1
                //= mqtt311 3.1.0-1
                self.violation(
                    conn,
                    packet.packet_type(),
                    "came before the connection was accepted",
                    Some("MQTT-3.1.0-1"),
                    now,
                    fx,
                );
            }
        }
        Flow::Taken
    }

    #[inline]
    fn on_packet_online(
        &mut self,
        client: Online,
        packet: Packet<'_>,
        raw: Raw<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Flow {
        let Online { conn, session, .. } = client;
        match packet {
            Packet::Publish(publish) => return self.on_publish(client, &publish, raw, now, fx),
            Packet::PubAck(ack) => self.on_puback(session, &ack, now, fx),
            Packet::PubRec(ack) => self.on_pubrec(client, &ack, now, fx),
            Packet::PubRel(ack) => self.on_pubrel(client, &ack, now, fx),
            Packet::PubComp(ack) => self.on_pubcomp(session, &ack, now, fx),
            Packet::Subscribe(subscribe) => {
                self.on_subscribe(conn, session, &subscribe, now, fx);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.on_unsubscribe(conn, session, &unsubscribe, now, fx);
            }
            //= mqtt5 3.12.4-1
            //= mqtt311 3.12.4-1
            Packet::PingReq => self.write(conn, &Packet::PingResp, now, fx),
            Packet::Disconnect(disconnect) => {
                self.on_disconnect(conn, session, &disconnect, now, fx);
            }
            Packet::Auth(auth) => self.on_auth(conn, &auth, now, fx),
            Packet::Connect(_) => {
                //= mqtt5 3.2.0-2
                //= mqtt5 3.1.0-2
                //= mqtt311 3.1.0-2
                self.violation(
                    conn,
                    packet.packet_type(),
                    "came a second time",
                    Some("MQTT-3.1.0-2"),
                    now,
                    fx,
                );
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                // The codec refuses these from a client; kept exhaustive for new packets.
                self.violation(
                    conn,
                    packet.packet_type(),
                    "is a server's packet",
                    None,
                    now,
                    fx,
                );
            }
        }
        Flow::Taken
    }
}
