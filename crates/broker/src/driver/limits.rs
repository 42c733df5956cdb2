//! The driver's bounds, with their reasons and the counters ([`DriverCounters`](super::DriverCounters)) that show when they are reached. Those of the protocol stand in the engine's `limits.rs`.

use std::time::Duration;

/// The one read buffer of a shard. No counter: one read brings [`READ_BUDGET_BYTES`] at most.
pub(super) const SCRATCH_BYTES: usize = 256 << 10;

/// What one connection may bring in before others get their turn. Enough to make the system call cheap per
/// message; a connection with more goes to the end of the queue. Counter: `reads_cut`.
pub(super) const READ_BUDGET_BYTES: usize = 64 << 10;

/// The same for the rest of a large packet: it is a part of one message, and fewer calls make it cheaper by a tenth. Counter:
/// `reads_cut`.
pub(super) const LARGE_READ_BYTES: usize = TICK_BYTES;

/// What all connections and other shards may bring in before the tick's effects leave, even if more are ready. Less than the
/// default outbox limit, so that many publishers to one quick reader do not overflow its outbox within one tick.
/// Counter: `ticks_cut`.
pub(super) const TICK_BYTES: usize = 256 << 10;

/// How late a timer, or how long a tick, may be before the thread counts as held up, in milliseconds. Less than the half second
/// of grace that a Keep Alive of one second, the shortest, has. Counter: `held_up`.
pub(super) const HELD_UP_MS: u64 = 400;

/// Ticks of a busy shard before the system is asked again which sockets are ready; until then only those with
/// more than their budget go on. No counter: who waits is served in order.
pub(super) const TICKS_PER_POLL: u32 = 4;

/// A torn tail up to this size is put in front of the next read in the scratch buffer; a longer one (part of a
/// large packet) stays where it is and what comes is read straight behind it. Counter: `tails_kept`.
pub(super) const TAIL_IN_SCRATCH_BYTES: usize = 4 << 10;
/// Memory for a large packet, as a multiple of what has arrived of it: what a client only announces costs nothing, and few bytes
/// are moved while it grows (5 and not 4: 1 MiB of payload has a head, too). Counter: `tails_grown`.
pub(super) const TAIL_GROWTH: usize = 5;
/// Memory of large packets that a shard keeps for the next ones: for a few that come and leave at the same time. Counter:
/// `spare_bytes_max`.
pub(super) const TAIL_SPARE_BYTES: usize = 8 << 20;
/// The smallest piece of it: the allocator keeps smaller ones itself. No counter: the next packet takes new memory.
pub(super) const SPARE_LEAST_BYTES: usize = 64 << 10;
/// How long, if no large packet comes. No counter: the next one has to wait for memory, that is all.
pub(super) const SPARE_IDLE_MS: u64 = 1_000;
/// As for [`TAIL_GROWTH`], for memory that is kept anyway: a read of 64 KiB may take a piece of 2 MiB.
pub(super) const SPARE_GROWTH: usize = 32;

/// Connections that are written at the end of one tick, if not nearly all of them are answered publishers; the others are
/// in the next ones, before that much is read as [`TICK_BYTES`] says. With [`TICKS_PER_POLL`] some hundred microseconds of writing
/// until publishers are heard again. Counter: `writes_waiting`.
pub(super) const WRITES_PER_TICK: usize = 32;
/// How many connections there must be to be written for each publisher among them, for any to wait. No counter: it bounds nothing.
pub(super) const RECEIVERS_PER_PUBLISHER: usize = 8;

/// How often in a row other threads of the core are let run between parts of the writing, if nothing comes meanwhile: they are not those
/// that would send something then, and the core would only be lost to them. Two polls, since no socket is heard before the next one.
/// Counter: `gave_way`.
pub(super) const WAYS_IN_VAIN: u32 = 2 * TICKS_PER_POLL;

/// Slices of one `writev`. No counter: the rest goes with the next one of the same tick.
pub(super) const WRITE_SLICES: usize = 64;

/// Writes to one connection in one tick. A quick reader of large messages needs several; it must not hold up
/// the others. Counter: `writes_put_off`.
pub(super) const WRITES_PER_FLUSH: usize = 4;

/// How long a closed connection may take to read its last packet, and how much of what it still sends is thrown
/// away meanwhile. Closing with unread bytes would send a reset, which destroys the last packet on its way.
/// Counter: `lingering_cut`.
pub(super) const LINGER_MS: u64 = 1_000;
/// As for [`LINGER_MS`].
pub(super) const LINGER_BYTES: u32 = 256 << 10;
/// Closed connections that linger at a time, per shard; beyond, the oldest is cut. Counter: `lingering_cut`.
pub(super) const LINGERING_MAX: usize = 1_024;

/// Connections that their clients may end in one tick before its effects leave, even if more are ready: what is left to do
/// for each takes more than a hundred bytes, and thousands often leave at once. Counter: `ticks_cut`.
pub(super) const CLOSED_MAX: usize = 64;

/// Bytes under way from one shard to others which those have not taken yet, from which that shard reads nothing until half of
/// them are taken. A message counts for what it holds and for its own size, so this bounds their number, too.
/// Shards that keep up take a tick's 256 KiB at once. Counter: `reads_paused`.
pub(super) const PEER_BYTES_MAX: usize = 32 << 20;
/// The same, from which no shard reads: one that does not read passes on what others send, and this is how they hear of it.
/// Counter: `overfull`.
pub(super) const PEER_BYTES_ALL_MAX: usize = 64 << 20;

/// The first and the longest pause of accepting while file descriptors are used up. Counter: `accepts_paused`.
pub(super) const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(100);
/// As for [`ACCEPT_PAUSE_MIN`].
pub(super) const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a stopping shard waits for its clients to read their last packet and close. No counter, because nobody can ask for it
/// any more: the log says how many were left.
pub(super) const STOP_MS: u64 = 1_500;

#[cfg(test)]
mod tests {
    use crate::DriverCounters;

    /// "Counter: `name`" stands at each bound, or why there is none; and there is such a counter.
    #[test]
    fn every_bound_names_a_counter_that_exists() {
        let counters: Vec<_> = DriverCounters::default()
            .iter()
            .map(|(name, _)| name)
            .collect();
        let texts = [include_str!("limits.rs"), include_str!("lanes.rs")];
        let (mut doc, mut bounds) = (String::new(), 0);
        for line in texts.iter().flat_map(|text| text.lines()) {
            if line.starts_with("#[cfg(test)]") {
                doc.clear();
            }
            if let Some(comment) = line.strip_prefix("///") {
                doc += comment;
                continue;
            }
            let bound = line.strip_prefix("pub(super) const ");
            if let Some(bound) = bound.or_else(|| line.strip_prefix("pub(crate) const ")) {
                let name = doc.split("Counter: `").nth(1);
                let name = name.and_then(|rest| rest.split('`').next());
                match name {
                    Some(name) => assert!(counters.contains(&name), "{bound} {name}"),
                    None => assert!(
                        doc.contains("No counter") || doc.contains("As for"),
                        "{bound}"
                    ),
                }
                bounds += 1;
            }
            doc.clear();
        }
        assert!(bounds > 12, "{bounds}");
    }
}
