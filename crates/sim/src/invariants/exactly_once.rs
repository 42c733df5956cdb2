//! No message is delivered more often than it was published.
//!
//! Source: MQTT-4.3.3-10, MQTT-4.3.3-12, MQTT-4.3.3-2 (3.1.1), section 4.3; MQTT-3.3.4-2 (one copy for overlapping subscriptions).
//! Checked: a session gets a message that was published at QoS 2 or 0 as *new* at most once, whatever its own QoS and however
//! often either side re-sent it; one published at QoS 1 at most as often as its publisher sent it. As new: not with DUP at QoS 1,
//! not under an identifier that the client holds at QoS 2. A retained message comes once more for each SUBSCRIBE that
//! matches; a shared subscription adds one copy per group, of which only QoS 2 ones are counted.
//! Over a crash QoS 2 is exactly once as well. At QoS 1 and 0 each copy that came before may come once more as new, if there was no
//! rest in between: which identifier it had, and that it was acknowledged, is written without haste. So may retained
//! messages for a new subscription, which begin again.
//! When: at each PUBLISH that a client reads.

use martlet_codec::QoS;

use super::Invariant;
use crate::ledger::{Event, Ledger, Receipt, shared_filter};

pub(super) struct ExactlyOnce;

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly_once"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Received(receipt) = event else {
            return Ok(());
        };
        let Some(id) = receipt.message else {
            return Ok(());
        };
        let message = &ledger.messages[id];
        let session = &ledger.sessions[receipt.session];
        let Some(receipts) = session.receipts.get(&id) else {
            return Ok(());
        };
        let published = match message.qos {
            QoS::AtLeastOnce if !message.will => message.sends.len(),
            QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce => 1,
        };
        let mut replays = 0;
        let starts = 1 + ledger.crashes_since(message);
        let mut groups = Vec::new();
        for change in Ledger::matching(session, &message.topic) {
            if shared_filter(&change.filter).is_none() {
                replays += if message.retain { starts } else { 0 };
            } else if !groups.contains(&&change.filter) {
                groups.push(&change.filter);
            }
        }
        let mut may_excuse = vec![true; receipts.len()];
        let mut fresh = 0;
        for (n, receipt) in receipts.iter().enumerate() {
            let excuse = receipts.iter().zip(&mut may_excuse).take(n);
            let excuse = excuse
                .filter(|(_, free)| **free)
                .find(|(before, _)| comes_again(before, receipt, ledger));
            if let Some((_, free)) = excuse {
                *free = false;
                continue;
            }
            // What a member left unacknowledged at QoS 1 comes back from the group as a new message.
            let counts = groups.is_empty() || receipt.qos == QoS::ExactlyOnce;
            fresh += usize::from(is_new(receipt) && counts);
        }
        let most = published * (1 + groups.len()) + replays;
        if fresh > most {
            let name = ledger.name(receipt.session);
            return Err(format!(
                "{name} got it {fresh} times, {most} are allowed: {message:?}: {receipts:?}"
            ));
        }
        Ok(())
    }
}

/// Whether the second may be the first once more, after a crash that undid what was known of it. Each excuses one other: of several
/// copies each may come again. A marked repetition is that of its identifier.
fn comes_again(before: &Receipt, receipt: &Receipt, ledger: &Ledger) -> bool {
    let both_at_qos_2 = before.qos.min(receipt.qos) == QoS::ExactlyOnce;
    ledger.may_come_again(before, receipt)
        && (!both_at_qos_2 || receipt.retain)
        && (is_new(receipt) || before.packet_id == receipt.packet_id)
}

/// A message published once is new once; a repetition says so.
fn is_new(receipt: &Receipt) -> bool {
    match receipt.qos {
        QoS::AtMostOnce => true,
        QoS::AtLeastOnce => !receipt.dup,
        QoS::ExactlyOnce => !receipt.repeated && !receipt.refused,
    }
}
