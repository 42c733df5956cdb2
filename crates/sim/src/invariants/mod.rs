//! What must be true of every run. One file each; a file says where the rule comes from, what is checked, and when.

mod acked_is_durable;
mod admitted;
mod at_least_once;
mod blame;
mod bounded_memory;
mod drains;
mod exactly_once;
mod no_phantom;
mod order_per_publisher_and_topic;
mod planned_stop;
mod quota_kept;
mod retained_latest;
mod session_kept;
mod single_owner;
mod suback_barrier;
mod unsuback_barrier;
mod will_once;

use crate::ledger::{Event, Ledger};

/// A rule. `Err` says what was seen that breaks it.
pub(crate) trait Invariant {
    /// Its name: the file's.
    fn name(&self) -> &'static str;

    /// Something has happened. The ledger may already know of things that happened right after it.
    fn on_event(&mut self, _event: &Event, _ledger: &Ledger) -> Result<(), String> {
        Ok(())
    }

    /// A step is over.
    fn on_step(&mut self, _ledger: &Ledger) -> Result<(), String> {
        Ok(())
    }

    /// All is quiet: every client is back and has got and acknowledged everything.
    fn at_rest(&mut self, _ledger: &Ledger) -> Result<(), String> {
        Ok(())
    }

    /// Everybody has gone, and no session is left.
    fn at_end(&mut self, _ledger: &Ledger) -> Result<(), String> {
        Ok(())
    }
}

impl std::fmt::Debug for dyn Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(session_kept::SessionKept),
        Box::new(acked_is_durable::AckedIsDurable),
        Box::new(blame::Blame),
        Box::new(admitted::Admitted::default()),
        Box::new(planned_stop::PlannedStop),
        Box::new(single_owner::SingleOwner::default()),
        Box::new(quota_kept::QuotaKept::default()),
        Box::new(no_phantom::NoPhantom),
        Box::new(exactly_once::ExactlyOnce),
        Box::new(order_per_publisher_and_topic::Order::default()),
        Box::new(bounded_memory::BoundedMemory),
        Box::new(will_once::WillOnce::default()),
        Box::new(suback_barrier::SubAckBarrier),
        Box::new(unsuback_barrier::UnsubAckBarrier),
        Box::new(at_least_once::AtLeastOnce),
        Box::new(retained_latest::RetainedLatest::default()),
        Box::new(drains::Drains),
    ]
}
