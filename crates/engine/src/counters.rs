//! Plain counters of one shard; summed over shards on request.

/// Totals since the shard started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken from clients.
    pub packets_received: u64,
    /// PUBLISH packets taken from clients, QoS 2 duplicates not counted.
    pub publishes_received: u64,
    /// PUBLISH packets put into outboxes, re-sends included.
    pub publishes_sent: u64,
    /// Of these, copies of the publisher's bytes or parts, with nothing of the receiver's own.
    pub express_deliveries: u64,
    /// Messages put into sessions' queues.
    pub queued: u64,
    /// QoS 0 messages dropped because the receiver's outbox was full.
    pub dropped_outbox_full: u64,
    /// Messages dropped because a session's or group's queue was full.
    pub dropped_queue_full: u64,
    /// Messages dropped because they expired before their delivery began.
    pub dropped_expired: u64,
    /// Messages dropped because they exceed the receiver's Maximum Packet Size.
    pub dropped_too_large: u64,
    /// QoS 0 messages not delivered because the session was offline.
    pub dropped_offline: u64,
    /// Messages of shared subscriptions that a member refused with 0x80 or more, or that ended with its session.
    pub dropped_by_member: u64,
    /// Connections and CONNECTs refused because of a limit.
    pub connections_refused: u64,
    /// Connections closed because their outbox passed the hard limit.
    pub closed_outbox_overflow: u64,
    /// Subscriptions refused because of a limit.
    pub subscriptions_refused: u64,
    /// Messages not retained because of a limit.
    pub retained_refused: u64,
    /// How often a publisher was not read because the shard was over its memory budget.
    pub publishers_paused: u64,
    /// Wills published.
    pub wills_published: u64,
    /// Messages sent to other shards.
    pub peer_messages_sent: u64,
    /// Routes found in the cache.
    pub route_cache_hits: u64,
    /// Routes that had to be computed.
    pub route_cache_misses: u64,
}
