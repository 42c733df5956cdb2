//! Random lives, cut anywhere: what comes back is what there was.
//!
//! A world's durable state is compared as a *dump*: its checkpoint, as text, with messages instead of the names of bodies.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use martlet_codec::{
    Connect, Packet, PacketId, PropertiesBuf, Property, QoS, TopicName, Version, Will,
};
use proptest::prelude::*;

use super::super::world::{Client, World};
use super::{ZERO, durable};
use crate::{BodyChange, Record, Records};

impl World {
    pub(super) fn dump(&mut self) -> Vec<String> {
        let mut bodies = BTreeMap::new();
        for (_, _, batch) in &self.store.log {
            for record in Records::new(batch).map(Result::unwrap) {
                if let Record::Body { body, message } = record {
                    let payload = String::from_utf8_lossy(message.payload).to_string();
                    let text = format!("{}={payload} {:?}", message.topic, message.expires_at);
                    bodies.insert(body.as_u64(), text);
                }
            }
        }
        let mut lines = Vec::new();
        for slot in 0..=u8::MAX {
            let now = self.now;
            let (shard, fx) = self.shard_and_effects(usize::from(slot) % self.shards.len());
            assert!(fx.store.is_empty(), "a dump is made at rest");
            shard.checkpoint_slot(slot, now, fx);
            let (_, batch) = fx.store.take(Vec::new()).unwrap();
            let mut sent = 0;
            for record in Records::new(&batch).map(Result::unwrap) {
                let mut text = format!("{slot:03} {record:?}");
                let in_flight = matches!(
                    record,
                    Record::Queued {
                        packet_id: Some(_),
                        ..
                    } | Record::Released { .. }
                );
                if in_flight {
                    sent += 1;
                    text = format!("{slot:03} {sent:03} {record:?}");
                }
                for change in record.body_change().into_iter().flatten() {
                    let BodyChange::Referred(id) = change else {
                        panic!("a checkpoint ends no reference: {record:?}");
                    };
                    text = format!("{text} {}", bodies[&id.as_u64()]);
                }
                lines.push(text);
            }
        }
        lines.retain(|line| !line.contains("SlotBegin") && !line.contains("SlotEnd"));
        lines.sort();
        lines
    }

    /// How often each body is referred to, by the state itself.
    pub(super) fn references_held(&mut self) -> BTreeMap<u64, i64> {
        let mut count = BTreeMap::new();
        for slot in 0..=u8::MAX {
            let now = self.now;
            let (shard, fx) = self.shard_and_effects(usize::from(slot) % self.shards.len());
            shard.checkpoint_slot(slot, now, fx);
            let (_, batch) = fx.store.take(Vec::new()).unwrap();
            for record in Records::new(&batch).map(Result::unwrap) {
                for change in record.body_change().into_iter().flatten() {
                    if let BodyChange::Referred(id) = change {
                        *count.entry(id.as_u64()).or_default() += 1;
                    }
                }
            }
        }
        count
    }

    /// What a store keeps of the log: of each slot nothing before its last checkpoint, and bodies that are referred to.
    fn forget_what_does_not_count(&mut self) {
        let mut begins = BTreeMap::new();
        for (at, (_, _, batch)) in self.store.log.iter().enumerate() {
            for (n, record) in Records::new(batch).map(Result::unwrap).enumerate() {
                if let Record::SlotBegin { slot } = record {
                    begins.insert(slot, (at, n));
                }
            }
        }
        let references = self.references();
        for (at, (_, _, batch)) in self.store.log.iter_mut().enumerate() {
            let mut left = Vec::new();
            for (n, record) in Records::new(batch).map(Result::unwrap).enumerate() {
                let counts = match (record.slot(), record) {
                    (Some(slot), _) => begins.get(&slot).is_none_or(|begin| *begin <= (at, n)),
                    (None, Record::Body { body, .. }) => references.contains_key(&body.as_u64()),
                    (None, _) => true,
                };
                if counts {
                    record.encode(&mut left);
                }
            }
            *batch = left;
        }
    }
}

/// Left out of a comparison are: whether a client is connected; and what has expired in a group, which it drops as soon as
/// it looks at it, though not while a member has it.
fn at_rest(dump: &[String], wall: u64) -> Vec<&String> {
    let expired = |line: &str| {
        let at = line.split("Some(WallTime(").nth(1);
        let at = at.and_then(|rest| rest.split(')').next()?.parse::<u64>().ok());
        at.is_some_and(|at| at <= wall)
    };
    dump.iter()
        .filter(|line| !line.contains("Offline"))
        .filter(|line| !line.contains("GroupQueued") || !expired(line))
        .collect()
}

#[derive(Debug, Clone)]
struct Step {
    what: u8,
    who: usize,
    topic: usize,
    qos: u8,
    flag: bool,
    some: u8,
}

fn step() -> impl Strategy<Value = Step> {
    (
        0_u8..40,
        0..CLIENTS.len(),
        0..TOPICS.len(),
        0_u8..3,
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(|(what, who, topic, qos, flag, some)| Step {
            what,
            who,
            topic,
            qos,
            flag,
            some,
        })
}

/// Identifiers, and seconds that their sessions last.
const CLIENTS: [(&str, u32); 5] = [
    ("a", 1_000),
    ("b", u32::MAX),
    ("c", 1_000),
    ("d", 0),
    ("e", 60),
];
const TOPICS: [&str; 3] = ["t/1", "t/2", "u"];
const FILTERS: [&str; 6] = ["t/+", "t/1", "#", "u", "$share/g/t/#", "$share/h/u"];

/// The clients of a world, and what they have not acknowledged yet.
struct Life {
    world: World,
    clients: Vec<Option<Client>>,
    open: Vec<Vec<(u8, u16)>>,
    next_id: u16,
}

impl Life {
    fn new(shards: usize) -> Self {
        Self {
            world: durable(shards),
            clients: CLIENTS.iter().map(|_| None).collect(),
            open: CLIENTS.iter().map(|_| Vec::new()).collect(),
            next_id: 0,
        }
    }

    fn connect(&mut self, step: &Step) {
        let (id, expiry_s) = CLIENTS[step.who];
        let mut properties = PropertiesBuf::new();
        properties.push(Property::SessionExpiryInterval(expiry_s));
        properties.push(Property::ReceiveMaximum(1 + u16::from(step.some % 4)));
        let mut will = PropertiesBuf::new();
        will.push(Property::WillDelayInterval(50));
        let client = self.world.connect_packet(&Connect {
            version: Version::V5,
            clean_start: step.some > 230,
            keep_alive_s: 0,
            properties: properties.as_properties(),
            client_id: id,
            will: step.flag.then(|| Will {
                topic: TopicName::new("t/will").unwrap(),
                payload: id.as_bytes(),
                qos: QoS::AtLeastOnce,
                retain: step.some.is_multiple_of(2),
                properties: will.as_properties(),
            }),
            user_name: None,
            password: None,
        });
        self.clients[step.who] = Some(client);
        self.open[step.who].clear();
    }

    fn listen(&mut self) {
        for who in 0..CLIENTS.len() {
            let Some(client) = self.clients[who] else {
                continue;
            };
            for line in self.world.received(client) {
                let id = line
                    .split('#')
                    .nth(1)
                    .and_then(|rest| rest.split(' ').next());
                let id = id.and_then(|id| id.parse::<u16>().ok());
                let kind = match (&line, id) {
                    (_, None) => continue,
                    (line, _) if line.starts_with("PUBLISH") && line.contains(" q1") => 1,
                    (line, _) if line.starts_with("PUBLISH") => 2,
                    (line, _) if line.starts_with("PUBREL") => 3,
                    (line, _) if line.starts_with("PUBREC") => 4,
                    _ => continue,
                };
                self.open[who].push((kind, id.unwrap()));
            }
        }
    }

    fn acknowledge(&mut self, who: usize) {
        let Some(client) = self.clients[who] else {
            return;
        };
        if self.open[who].is_empty() {
            return;
        }
        let (kind, id) = self.open[who].remove(0);
        match kind {
            1 => self.world.ack(client, Packet::PubAck, id),
            2 => self.world.ack(client, Packet::PubRec, id),
            3 => self.world.ack(client, Packet::PubComp, id),
            _ => self.world.ack(client, Packet::PubRel, id),
        }
    }

    fn publish(&mut self, step: &Step, retain: bool) {
        let Some(client) = self.clients[step.who] else {
            return;
        };
        self.next_id += 1;
        let payload = if retain && step.some > 200 {
            String::new()
        } else {
            self.next_id.to_string()
        };
        let mut properties = PropertiesBuf::new();
        if step.some.is_multiple_of(8) {
            properties.push(Property::MessageExpiryInterval(30));
        }
        let qos = QoS::from_bits(step.qos).unwrap();
        let id = (qos != QoS::AtMostOnce).then_some(self.next_id);
        let publish = martlet_codec::Publish {
            dup: false,
            qos,
            retain,
            topic: Some(TopicName::new(TOPICS[step.topic]).unwrap()),
            packet_id: id.and_then(PacketId::new),
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        };
        self.world.send(client, &Packet::Publish(publish));
    }

    fn take(&mut self, step: &Step) {
        let qos = QoS::from_bits(step.qos).unwrap();
        let filter = FILTERS[usize::from(step.some) % FILTERS.len()];
        match (step.what, self.clients[step.who]) {
            (0..4, None) | (4, _) => self.connect(step),
            (0..2, Some(client)) => {
                self.world.drop_connection(client);
                self.clients[step.who] = None;
            }
            (5..10, Some(client)) => self.world.subscribe(client, filter, qos),
            (10, Some(client)) => self.world.unsubscribe(client, filter),
            (11..15, _) => self.publish(step, true),
            (15..25, _) => self.publish(step, false),
            (25, _) => self.world.advance(u64::from(step.some) * 100),
            (26, _) => self.world.checkpoint(),
            (27..40, _) => self.acknowledge(step.who),
            _ => {}
        }
        self.listen();
        let ended: Vec<_> = self
            .world
            .closed
            .drain(..)
            .map(|(s, c)| (s, c.conn))
            .collect();
        for client in &mut self.clients {
            if client.is_some_and(|c| ended.contains(&(c.shard, c.conn))) {
                *client = None;
            }
        }
    }
}

proptest! {
    #[test]
    fn what_comes_back_is_what_there_was(
        shards in 1_usize..4,
        steps in prop::collection::vec(step(), 1..120),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..4, any::<bool>()), 5),
        any_cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..4), 5),
    ) {
        let mut life = Life::new(shards);
        let mut history = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            life.take(step);
            if cuts.iter().any(|(cut, ..)| cut.index(steps.len()) == at) {
                let world = &mut life.world;
                history.insert(at, (world.store.log.len(), world.now, world.dump()));
            }
        }
        let world = &mut life.world;
        let written = world.references();
        prop_assert_eq!(&written, &world.references_held(), "{:#?}", world.records());
        // Cut at rest, under any number of shards, whole or cleaned: the same.
        for (index, shards, cleaned) in &cuts {
            let (batches, then, expected) = &history[&index.index(steps.len())];
            let now = core::mem::replace(&mut world.now, *then);
            let mut log = core::mem::take(&mut world.store.log);
            let tail = log.split_off(*batches);
            world.store.log = log.clone();
            if *cleaned {
                world.forget_what_does_not_count();
            }
            let mut again = world.crash(*batches, *shards, 0);
            log.extend(tail);
            world.store.log = log;
            world.now = now;
            let dump = again.dump();
            let wall = ZERO + then.as_millis();
            let (found, expected) = (at_rest(&dump, wall), at_rest(expected, wall));
            prop_assert_eq!(found, expected, "{:#?}", &world.records());
            if !*cleaned {
                prop_assert_eq!(again.references(), again.references_held());
            }
        }
        // Cut between the batches of several shards: nothing is lost track of.
        for (index, shards) in &any_cuts {
            let batches = index.index(world.store.log.len() + 1);
            let mut again = world.crash(batches, *shards, 0);
            prop_assert_eq!(again.references(), again.references_held(), "{:#?}", &world.records());
        }
        // All sessions end, everything that is retained is cleared: nothing is left.
        for (id, _) in CLIENTS {
            world.connect(Version::V311, id, true);
        }
        let cleaner = world.connect(Version::V311, "cleaner", true);
        for topic in TOPICS.iter().chain(&["t/will"]) {
            world.publish(cleaner, topic, QoS::AtMostOnce, 0, true, "");
        }
        prop_assert_eq!(world.references(), BTreeMap::new(), "{:#?}", world.records());
        prop_assert!(world.dump().is_empty());
    }
}
