//! Keep Alive: when a silent peer counts as gone.

/// Watches how long the peer has been silent.
///
/// The caller reports every whole packet with [`KeepAlive::on_packet`] and asks
/// [`KeepAlive::deadline_ms`] when a timer fires: receiving costs one store, no timer is touched.
/// Half packets do not count, nor does anything that was sent to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// One and a half times the Keep Alive, in milliseconds; 0 switches the watch off.
    grace_ms: u32,
    last_packet_ms: u64,
}

impl KeepAlive {
    /// A watch for a Keep Alive of `keep_alive_s` seconds (0 to 65,535; 0 means never), starting now.
    #[must_use]
    pub const fn new(keep_alive_s: u16, now_ms: u64) -> Self {
        //= mqtt5 3.1.2-22
        //= mqtt311 3.1.2-24
        Self {
            grace_ms: keep_alive_s as u32 * 1_500,
            last_packet_ms: now_ms,
        }
    }

    /// A whole control packet, of any type, has arrived.
    pub const fn on_packet(&mut self, now_ms: u64) {
        self.last_packet_ms = now_ms;
    }

    /// Until this moment the peer's packets could not arrive: its silence does not count.
    pub const fn excuse_until(&mut self, then_ms: u64) {
        if then_ms > self.last_packet_ms {
            self.last_packet_ms = then_ms;
        }
    }

    /// Whether the peer may be silent for a shorter time than this.
    #[must_use]
    pub const fn is_shorter_than(&self, span_ms: u64) -> bool {
        self.grace_ms != 0 && (self.grace_ms as u64) < span_ms
    }

    /// The moment at which the peer counts as gone unless a packet arrives before; `None`: never.
    #[must_use]
    pub const fn deadline_ms(&self) -> Option<u64> {
        if self.grace_ms == 0 {
            None
        } else {
            Some(self.last_packet_ms.saturating_add(self.grace_ms as u64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_one_and_a_half_keep_alives_after_the_last_packet() {
        let mut watch = KeepAlive::new(10, 1_000);
        assert_eq!(watch.deadline_ms(), Some(16_000));
        watch.on_packet(5_000);
        assert_eq!(watch.deadline_ms(), Some(20_000));
    }

    #[test]
    fn an_excuse_counts_unless_a_packet_came_later() {
        let mut watch = KeepAlive::new(10, 1_000);
        watch.excuse_until(3_000);
        assert_eq!(watch.deadline_ms(), Some(18_000));
        watch.on_packet(5_000);
        watch.excuse_until(4_000);
        assert_eq!(watch.deadline_ms(), Some(20_000));
    }

    #[test]
    fn zero_never_ends() {
        assert_eq!(KeepAlive::new(0, 1_000).deadline_ms(), None);
        assert!(!KeepAlive::new(0, 1_000).is_shorter_than(5_000));
        assert!(!KeepAlive::new(10, 1_000).is_shorter_than(15_000));
        assert!(KeepAlive::new(10, 1_000).is_shorter_than(15_001));
    }
}
