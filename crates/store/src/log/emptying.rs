//! Whether the oldest segment gets emptier by itself, so that it need not be cleaned.
//!
//! Under full load a segment is full while its last messages are still under way. A moment later their receivers are done with
//! them, and there is nothing in it to be read and copied: what would be copied at once would be garbage soon. So it is looked at
//! now and then, and waited for as long as it needs a sixteenth less each time.

use super::Log;
use crate::disk::Disk;

/// What a segment needed at some time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    generation: u64,
    live: u64,
    /// Bytes appended by then.
    appended: u64,
    /// How often it could have been looked again.
    times: u32,
}

impl<D: Disk> Log<D> {
    /// Whether the oldest segment is best left alone. Never if there has to be room; and while it is waited for it is what other times
    /// a reserve is, so that no bound on space is broken: when the head is half full that comes first.
    pub(super) fn is_oldest_emptying(&mut self) -> bool {
        let Some(oldest) = self.sealed.front().filter(|oldest| oldest.live > 0) else {
            return false;
        };
        let has_reserve = !self.reserve.is_nothing();
        let needs_room = self.no_room.is_some() || self.is_near_limit();
        // The sums go through all segments, and this is asked after each sync.
        let allowed = || 2 * self.live_bytes() + self.settings.segment_bytes;
        if has_reserve || needs_room || self.sealed_bytes() > allowed() {
            return false;
        }
        let now = Look {
            generation: oldest.header.generation,
            live: oldest.live,
            appended: self.counters.appended_bytes,
            times: 0,
        };
        let last = &mut self.cleaning.look;
        if last.generation != now.generation {
            *last = now;
            return true;
        }
        last.times += 1;
        let since = now.appended - last.appended;
        if since < self.settings.segment_bytes / LOOKS_PER_SEGMENT && last.times < LOOK_CALLS {
            return true;
        }
        let gets_emptier = now.live < last.live - last.live / 16;
        *last = now;
        gets_emptier
    }
}

/// A segment that gets emptier is looked at again when so much has been appended, or after so many calls.
const LOOKS_PER_SEGMENT: u64 = 16;
const LOOK_CALLS: u32 = 64;
