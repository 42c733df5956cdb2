//! Plain counters of one shard; summed over shards on request.

use core::ops::AddAssign;

use martlet_codec::{DecodeErrorKind, ReasonCode};

use crate::report::CloseCause;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Totals since the shard started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Packets taken from clients.
    packets_received,
    /// PUBLISH packets taken from clients, QoS 2 duplicates not counted.
    publishes_received,
    /// PUBLISH packets put into outboxes, re-sends included.
    publishes_sent,
    /// Of these, copies of the publisher's bytes or parts, with nothing of the receiver's own.
    express_deliveries,
    /// Messages put into sessions' queues: for want of a connection, of room in its outbox, or in the window of
    /// `in_flight_to_client_max`.
    queued,
    /// QoS 0 messages dropped because the receiver's outbox was full.
    dropped_outbox_full,
    /// Messages dropped because a session's or group's queue was full.
    dropped_queue_full,
    /// Messages dropped because they expired before their delivery began.
    dropped_expired,
    /// Messages dropped because they exceed the receiver's Maximum Packet Size.
    dropped_too_large,
    /// Messages dropped because their bodies could not be read back from the store.
    dropped_lost,
    /// Bodies read back from the store.
    bodies_read,
    /// QoS 0 messages not delivered because the session was offline.
    dropped_offline,
    /// Messages of shared subscriptions that a member refused with 0x80 or more, or that ended with its session.
    dropped_by_member,
    /// Messages of shared subscriptions that went to a member of this shard without being kept.
    group_messages_at_once,
    /// Acknowledgements of such messages that the shared subscription heard of at once.
    group_credits_at_once,
    /// How often messages of shared subscriptions that lay together left a member's queue together, be it only one.
    group_pieces_sent,
    /// How often PUBLISH packets to one topic that stood one behind the other were dealt with together, be it only one.
    publish_runs,
    /// How often PUBLISH packets of QoS 2 were recorded and sent together, to leave when the records are stable.
    runs_withheld,
    /// How often acknowledgements that stood one behind the other were dealt with together, be it only one.
    acknowledgement_runs,
    /// Connections and CONNECTs refused because of a limit.
    connections_refused,
    /// CONNECTs refused for the length of their client identifier.
    client_ids_refused,
    /// Connections closed because CONNECT did not come in time.
    closed_connect_timeout,
    /// Connections closed because the authenticator gave no verdict in time.
    closed_authenticator_timeout,
    /// Connections closed because the client did not answer the authenticator's challenge in time.
    closed_challenge_timeout,
    /// Connections closed because of a packet over the announced Maximum Packet Size.
    closed_packet_too_large,
    /// Connections closed because of more unfinished messages than the announced Receive Maximum.
    closed_receive_maximum,
    /// Connections closed because of an alias over the announced Topic Alias Maximum.
    closed_topic_alias,
    /// Connections closed because their outbox passed the hard limit.
    closed_outbox_overflow,
    /// Topic names and filters refused for their length or their levels, those of wills included.
    topics_refused,
    /// Subscriptions refused because of a limit on their number.
    subscriptions_refused,
    /// Messages not retained because of a limit.
    retained_refused,
    /// How often a publisher was not read because the shard was over its memory budget.
    publishers_paused,
    /// How often a publisher was not read because too many of its acknowledgements were held back.
    publishers_held,
    /// Aliases towards clients that were given to another topic: all were in use, or the places of two collided.
    aliases_replaced,
    /// Answers to new subscriptions that did not hold all retained messages of a shard: more had to be asked for.
    retained_chunks_cut,
    /// How often the route cache was full, and forgot what nobody had asked for in a long time.
    route_cache_restarts,
    /// Wills published.
    wills_published,
    /// Messages sent to other shards.
    peer_messages_sent,
    /// Runs of such messages that came from other shards and were dealt with together there.
    peer_runs,
    /// Routes found in the cache.
    route_cache_hits,
    /// Routes that had to be computed.
    route_cache_misses,
    /// Looks for the routes of several messages of one read at once.
    looks_ahead,
}

impl Counters {
    /// A connection was closed: counts it if that was for a limit.
    pub(crate) fn count_close(&mut self, cause: &CloseCause) {
        let counter = match cause {
            CloseCause::ConnectTimeout => &mut self.closed_connect_timeout,
            CloseCause::AuthenticatorTimeout => &mut self.closed_authenticator_timeout,
            CloseCause::ChallengeTimeout => &mut self.closed_challenge_timeout,
            CloseCause::Malformed(error) if error.kind() == DecodeErrorKind::PacketTooLarge => {
                &mut self.closed_packet_too_large
            }
            CloseCause::Violation(found) if found.reason == ReasonCode::ReceiveMaximumExceeded => {
                &mut self.closed_receive_maximum
            }
            CloseCause::Violation(found) if found.reason == ReasonCode::TopicAliasInvalid => {
                &mut self.closed_topic_alias
            }
            CloseCause::ClientDisconnected(_)
            | CloseCause::ConnectionLost
            | CloseCause::TransportFailed
            | CloseCause::KeepAliveTimeout
            | CloseCause::Malformed(_)
            | CloseCause::Violation(_)
            | CloseCause::Refused(_)
            | CloseCause::TakenOver
            | CloseCause::ServerShutdown
            | CloseCause::OutboxOverflow
            | CloseCause::Administrative(_) => return,
        };
        *counter += 1;
    }
}
