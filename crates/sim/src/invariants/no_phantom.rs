//! Nothing arrives that was not published, and nothing that was not asked for.
//!
//! Source: MQTT-3.3.2-7, MQTT-3.3.1-8/-9/-11/-13 (RETAIN of what is forwarded), MQTT-3.3.4-1 and MQTT-3.8.4-8 (QoS), MQTT-3.8.3-3 (No Local),
//! MQTT-3.3.2-6 (expiry), MQTT-3.3.4-3/-4 (subscription identifiers), MQTT-4.7.2-1 (`$` topics).
//! Checked: each PUBLISH that a client reads is one that was sent, byte for byte, to its topic; a filter of that
//! session matches (ever asked for: an answer may be lost); its QoS is at most the published one and the highest asked for; RETAIN
//! stands there only if it may, which is never for those who asked for no retained messages; identifiers are those of matching subscriptions; No Local is kept.
//! When: at each PUBLISH that a client reads.

use martlet_codec::QoS;

use super::Invariant;
use crate::client::TOPICS;
use crate::ledger::{Change, Event, Ledger, Receipt};

pub(super) struct NoPhantom;

impl Invariant for NoPhantom {
    fn name(&self) -> &'static str {
        "no_phantom"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Received(receipt) = event else {
            return Ok(());
        };
        let name = ledger.name(receipt.session);
        check(receipt, ledger).map_err(|what| format!("{name}: {what}: {receipt:?}"))
    }
}

fn check(receipt: &Receipt, ledger: &Ledger) -> Result<(), String> {
    let Some(topic) = receipt.topic.as_deref() else {
        return Ok(());
    };
    let session = &ledger.sessions[receipt.session];
    let matching: Vec<&Change> = Ledger::matching(session, topic).collect();
    let wanted = || matching.iter().filter_map(|change| change.wanted);
    let Some(qos) = wanted().map(|wanted| wanted.qos).max() else {
        return Err("nobody asked for it".into());
    };
    let Some(message) = receipt.message else {
        let cleared = receipt.empty
            && ledger
                .messages
                .iter()
                .any(|m| m.clear && m.topic == topic && !m.sends.is_empty());
        let ours = TOPICS.contains(&topic);
        return if cleared || !ours {
            // Hostile clients publish as well, and garbage may happen to be a PUBLISH.
            Ok(())
        } else {
            Err("nobody published it".into())
        };
    };
    let message = &ledger.messages[message];
    if !receipt.intact || message.topic != topic || (message.sends.is_empty() && !message.will) {
        return Err(format!("was published otherwise: {message:?}"));
    }
    if receipt.qos > qos.min(message.qos) {
        return Err(format!("at a higher QoS than {qos:?} of {message:?}"));
    }
    if receipt.retain && !message.retain {
        return Err("retained though it was not published so".into());
    }
    if receipt.retain && !wanted().any(|wanted| wanted.retain_as_published || wanted.replays) {
        return Err(format!(
            "retained though nobody asked for that: {matching:?}"
        ));
    }
    if receipt
        .expiry_s
        .is_some_and(|left| message.expiry_s.is_none_or(|all| left > all))
    {
        return Err(format!("expires later than {:?}", message.expiry_s));
    }
    if receipt.qos != QoS::AtMostOnce && receipt.packet_id.is_none() {
        return Err("without identifier".into());
    }
    if let Some(id) = receipt
        .subscription_ids
        .iter()
        .find(|id| !wanted().any(|wanted| wanted.id == **id))
    {
        return Err(format!("with subscription identifier {id}"));
    }
    // A retained message that is sent for a SUBSCRIBE is no forward; a session is known by its own number.
    let own = message.publisher == session.actor && message.session == receipt.session;
    if own && !receipt.retain && !message.will && wanted().all(|wanted| wanted.no_local) {
        return Err("though it is the client's own".into());
    }
    Ok(())
}
