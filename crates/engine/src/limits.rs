//! Every bound of the broker, in one place, with its default and its reason.

/// The bounds that a shard keeps. Counts and bytes are per shard unless the name says otherwise.
///
/// Each field says what happens when the bound is reached and which counter
/// ([`Counters`](crate::Counters)) shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet taken from a client, in bytes, fixed header included (1 to 268,435,460).
    /// Announced as Maximum Packet Size. Beyond: the connection is closed (v5: 0x95). Counter: `closed_packet_too_large`.
    /// 1 MiB carries pictures and firmware blocks, and bounds what one connection can make us hold.
    pub packet_bytes_max: u32,
    /// Connections at a time; beyond, new ones are closed at accept. The driver sets it to its share
    /// of 90 % of the file descriptors. Counter: `connections_refused`.
    pub connections_max: usize,
    /// Milliseconds in which CONNECT has to arrive whole; then the connection is closed.
    /// 5 s is ample on the slowest links and keeps silent connections from piling up. Counter: `closed_connect_timeout`.
    pub connect_timeout_ms: u64,
    /// Milliseconds for each step of an authentication, at CONNECT or later: the authenticator's verdict, and the client's AUTH
    /// when it was challenged. Then the connection is closed (v5: CONNACK 0x88 or DISCONNECT 0x89 for a silent authenticator,
    /// 0x87 for a silent client). 10 s leave room for a directory service behind a backend, and for a slow link.
    /// Counter: `closed_authenticator_timeout`, and `closed_challenge_timeout` for the client.
    pub authentication_timeout_ms: u64,
    /// Unfinished QoS 1 and 2 messages towards one client (1 to 65,535); a smaller Receive Maximum
    /// of the client wins, MQTT 3 clients get exactly this. Further messages wait in the session queue.
    /// 256 let a receiver take what many publishers send without a detour over its queue (at 64 that detour cost fan-in half
    /// as much again, a shared group twice), and bound what a resume has to re-send. Counter: `queued`.
    pub in_flight_to_client_max: u16,
    /// Receive Maximum announced to v5 clients (1 to 65,535); beyond, the connection is closed with 0x93.
    /// 64 keeps a publisher busy over a slow link, and bounds the QoS 2 identifiers to remember. Counter: `closed_receive_maximum`.
    pub receive_maximum: u16,
    /// Messages that wait in one session's queue. Beyond: the oldest QoS 0 message is dropped, and
    /// when there is none the new message is refused. Counters: `dropped_queue_full`, per session too.
    pub session_queue_messages_max: usize,
    /// Bytes that wait in one session's queue; beyond, as for `session_queue_messages_max`.
    pub session_queue_bytes_max: usize,
    /// Bytes of one connection's outbox from which QoS 0 messages are dropped for it and QoS 1 and 2
    /// messages wait in the queue. Control packets are never dropped. Counter: `dropped_outbox_full`.
    /// 1 MiB is more than a socket buffer: a reader that keeps up never sees it.
    pub outbox_bytes_max: usize,
    /// Bytes of one connection's outbox, control packets included, from which it is closed:
    /// a reader that never reads while it sends requests. Counter: `closed_outbox_overflow`.
    pub outbox_bytes_hard_max: usize,
    /// Topic aliases that a v5 client may use towards us (0 to 65,535); announced. Beyond: the connection is closed with
    /// 0x94. Counter: `closed_topic_alias`.
    pub topic_aliases_from_client_max: u16,
    /// Topic aliases that we use towards a v5 client, at most its own Topic Alias Maximum. Beyond, a topic
    /// takes the alias of another. Counter: `aliases_replaced`.
    pub topic_aliases_to_client_max: u16,
    /// Longest topic name or filter, in bytes (1 to 65,535). Beyond: v5 0x90 or 0x8F, MQTT 3 is closed or refused.
    /// Counter: `topics_refused`.
    pub topic_bytes_max: usize,
    /// Most levels of a topic name or filter; beyond, as for `topic_bytes_max`.
    pub topic_levels_max: usize,
    /// Longest client identifier, in bytes; beyond, CONNECT is refused (3: code 2, v5: 0x85).
    /// Counter: `client_ids_refused`.
    pub client_id_bytes_max: usize,
    /// Subscriptions of one session; beyond, SUBACK 0x97 (MQTT 3: 0x80). Counter: `subscriptions_refused`.
    pub subscriptions_per_session_max: usize,
    /// Sessions, online or not; beyond, CONNECT is refused as 'quota exceeded'. Counter: `connections_refused`.
    pub sessions_max: usize,
    /// Retained messages; beyond, a message of a new topic is delivered but not retained (counted).
    /// Counter: `retained_refused`.
    pub retained_messages_max: usize,
    /// Bytes of retained messages, topics included; beyond, as for `retained_messages_max`.
    pub retained_bytes_max: usize,
    /// Messages that wait in a shared subscription's own queue for a member with room.
    /// Beyond: as for `session_queue_messages_max`. Counter: `dropped_queue_full`.
    pub group_queue_messages_max: usize,
    /// Bytes that wait in a shared subscription's own queue; beyond, as for `group_queue_messages_max`.
    pub group_queue_bytes_max: usize,
    /// Bytes held in queues and outboxes of this shard from which its publishers are read only once a second,
    /// until it is back under. Counter: `publishers_paused`.
    pub memory_budget_bytes: usize,
    /// Topics whose route is remembered; beyond, those that nobody has asked for longest are forgotten. Counter:
    /// `route_cache_restarts`.
    pub route_cache_entries_max: usize,
    /// Retained messages that one shard sends another in one answer; the rest is asked for when these have been sent.
    /// Counter: `retained_chunks_cut`. An answer wakes two shards, and holds no copies, only references: 1,024 take 8 KiB.
    pub retained_chunk_messages: usize,
    /// Acknowledgements of one connection that wait for another shard or for the disk; beyond, it is not read until half of
    /// them have gone. A v5 client is held to its Receive Maximum before. Counter: `publishers_held`.
    pub held_answers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 1 << 20,
            connections_max: 100_000,
            connect_timeout_ms: 5_000,
            authentication_timeout_ms: 10_000,
            in_flight_to_client_max: 256,
            receive_maximum: 64,
            session_queue_messages_max: 10_000,
            session_queue_bytes_max: 16 << 20,
            outbox_bytes_max: 1 << 20,
            outbox_bytes_hard_max: 8 << 20,
            topic_aliases_from_client_max: 32,
            topic_aliases_to_client_max: 32,
            topic_bytes_max: 4_096,
            topic_levels_max: 128,
            client_id_bytes_max: 256,
            subscriptions_per_session_max: 100_000,
            sessions_max: 2_000_000,
            retained_messages_max: 5_000_000,
            retained_bytes_max: 1 << 30,
            group_queue_messages_max: 10_000,
            group_queue_bytes_max: 16 << 20,
            memory_budget_bytes: 1 << 30,
            route_cache_entries_max: 16_384,
            retained_chunk_messages: 1_024,
            held_answers_max: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Counters;
    use std::vec::Vec;

    /// "Counter: `name`" stands at each bound, or at the one that it refers to with "as for"; and there is such a counter.
    #[test]
    fn every_bound_names_a_counter_that_exists() {
        let counters: Vec<_> = Counters::default().iter().map(|(name, _)| name).collect();
        let text = include_str!("limits.rs")
            .split("impl Default")
            .next()
            .unwrap();
        let mut doc = std::string::String::new();
        let mut bounds = 0;
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                doc += comment;
            } else if let Some(field) = line.strip_prefix("pub ").filter(|l| l.ends_with(',')) {
                let named = doc.split("Counter").nth(1).map(|rest| {
                    let name = rest.split('`').nth(1).unwrap_or_default();
                    assert!(counters.contains(&name), "{field} {name}");
                });
                assert!(named.is_some() || doc.contains("as for"), "{field}");
                doc.clear();
                bounds += 1;
            } else {
                doc.clear();
            }
        }
        assert!(bounds > 20, "{bounds}");
    }
}
