//! When the store does not keep up: who publishes something that has to be stored waits, or is refused. Everybody else
//! goes on.

use martlet_codec::{Publish, QoS};

use crate::clients::connection::Parked;
use crate::collections::slab::Key;
use crate::config::StorePressure;
use crate::effects::{ConnId, Effects};
use crate::grouping::Group;
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

/// What to do with a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Take,
    /// Say that there is no room for it.
    Refuse,
    /// Its connection is not read until the store has caught up.
    Wait,
}

impl Shard {
    /// The store keeps up, or does not; see [`StorePressure`].
    pub fn on_store_pressure(&mut self, pressure: StorePressure, now: Time, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        durable.pressure = pressure;
        if pressure != StorePressure::Busy {
            // All are looked at again; if the store is full, some of them are refused now, others come back.
            for conn in core::mem::take(&mut durable.parked) {
                if let Some(connection) = self.connections.get_mut(conn)
                    && connection.parked == Some(Parked::Store)
                {
                    connection.unpark(now);
                    fx.resumed.push(ConnId(conn));
                }
            }
        }
        self.settle(now, fx);
    }

    /// Whether a PUBLISH may be taken now. The connection of one that has to wait is parked.
    pub(crate) fn admit(
        &mut self,
        (conn, session): (Key, Key),
        publish: &Publish<'_>,
        topic: &str,
    ) -> Admission {
        let pressure = match &self.durable {
            Some(durable) if durable.pressure != StorePressure::Normal => durable.pressure,
            Some(_) | None => return Admission::Take,
        };
        if !self.would_be_stored(session, publish, topic) {
            return Admission::Take;
        }
        let answers = publish.qos != QoS::AtMostOnce && self.version_of(conn).is_v5();
        if pressure == StorePressure::Full && answers {
            return Admission::Refuse;
        }
        if let (Some(connection), Some(durable)) =
            (self.connections.get_mut(conn), &mut self.durable)
        {
            connection.parked = Some(Parked::Store);
            durable.parked.push(conn);
            self.counters.publishers_paused += 1;
        }
        Admission::Wait
    }

    fn would_be_stored(&mut self, session: Key, publish: &Publish<'_>, topic: &str) -> bool {
        let Some(state) = self.sessions.get(session) else {
            return false;
        };
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(id)) if state.inbound.is_unreleased(id) => return false,
            (QoS::ExactlyOnce, _) if state.stored().is_some() => return true,
            _ if publish.retain => return true,
            (QoS::AtMostOnce, _) => return false,
            (QoS::AtLeastOnce | QoS::ExactlyOnce, _) => {}
        }
        if !self.takes_topic(topic) {
            // It will be refused. A topic with a route counts as one that was looked at.
            return false;
        }
        let route = self.lookup(topic.into());
        let here = route
            .subscribers()
            .any(|subscriber| self.is_durable(subscriber));
        let elsewhere = route.durable_elsewhere(self.config.index);
        here || elsewhere != 0
    }

    /// Whether what the subscriber gets at QoS 1 or 2 is stored.
    pub(super) fn is_durable(&self, subscriber: Subscriber) -> bool {
        match subscriber {
            Subscriber::Session(key) => self.stored(key).is_some(),
            Subscriber::Group(key) => self.groups.get(key).is_some_and(Group::is_durable),
        }
    }
}
