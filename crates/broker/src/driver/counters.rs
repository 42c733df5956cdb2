//! What the driver counts: its work, and how often each of its bounds was reached.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What the driver of one shard has done since its start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct DriverCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl DriverCounters {
            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Ends of ticks at which something left.
    flushes,
    /// Reads from sockets.
    reads,
    /// Reads that brought as much as one connection may bring in at once: it goes on when others had their turn.
    reads_cut,
    /// Ticks whose effects left before all that was ready had its turn.
    ticks_cut,
    /// Writes to sockets.
    writes,
    /// Connections that had something to be written at the end of a tick.
    dirty,
    /// Writes that the socket took only in part or not at all.
    short_writes,
    /// Connections with more to write than one tick writes to one of them.
    writes_put_off,
    /// Connections that a tick left for the next one, because there were many to be written.
    writes_waiting,
    /// How often other threads of the core were let run while connections waited to be written.
    gave_way,
    /// Batches that came from other shards.
    batches_received,
    /// Of these, the ones that came while a tick was under way, and left together with it.
    batches_joined,
    /// Wakes of other shards.
    peer_wakes,
    /// The most bytes that were under way to other shards at a time.
    peer_bytes_max,
    /// Batches that had to wait because the ring to another shard was full.
    rings_full,
    /// How often nothing was read because other shards did not keep up.
    reads_paused,
    /// How often the shard's thread stood still for so long that no client's silence meanwhile was counted.
    held_up,
    /// How often so much was under way from this shard that no shard read anything.
    overfull,
    /// Sockets given to their home shard.
    handovers,
    /// Torn tails kept for the next read.
    tails_kept,
    /// Reads of the rest of a large packet, straight behind what there was of it.
    reads_in_place,
    /// How often what there was of a large packet had to be moved, for memory for more.
    tails_grown,
    /// The most memory that was kept for the next large packet.
    spare_bytes_max,
    /// Connections closed at accept because there were as many as there may be.
    connections_refused,
    /// How often accepting was paused because of an error of the system.
    accepts_paused,
    /// Closed connections that were cut: their peers went on sending, did not close, or there were too many of them.
    lingering_cut,
}
