//! PUBLISH packets to one topic, one behind the other: what publishers with something to say send.
//!
//! ```text
//! read buffer | PUBLISH t | PUBLISH t | PUBLISH t | PUBLISH u ...      a run of three
//!                 |            |            |
//! outbox      | PUBLISH t | PUBLISH t | PUBLISH t |                    one copy; identifiers are put right in it
//! ```
//! To another shard it goes as one entry of a pack, and to its receivers there as it does here (`peering/packing.rs`).
//! A run goes to its receivers as one piece, receiver by receiver, and its acknowledgements are written behind it as one piece. What the
//! whole run has in common (may the client publish, where does it go, is there a store) is asked once. Only what
//! needs nothing but copies is taken in runs, and a receiver that cannot have the whole run at once gets the rest
//! of it message by message, as everybody does whose messages do not come in runs.
//!
//! Where there is a store, what a run is for a session that is in it is recorded in one go (`durable/runs.rs`); other shards are
//! asked once whether all of the run is stored, and the acknowledgements wait together.

mod run;

use alloc::vec::Vec;

use martlet_codec::{PacketId, Publish, QoS, Rules};
use martlet_session::InboundPublish;

use crate::clients::client_session::ClientSession;
use crate::clients::connection::Waits;
use crate::collections::slab::Key;
use crate::durable::{Durable, Together};
use crate::effects::Effects;
use crate::message::{Form, Kept};
use crate::packets::reading::Online;
use crate::peering::packing::Purpose;
use crate::record::{BodyId, RunOf};
use crate::routing::routes::Route;
use crate::sending::delivery::{Delivery, SEVERAL_MAX, Terms};
use crate::sending::outbox::CHAIN_THRESHOLD;
use crate::sending::writing::{AckKind, give_buffer, to_be_written};
use crate::shard::Shard;
use crate::time::Time;

pub(crate) use run::{Repeat, Run};

impl Shard {
    /// Whether messages to where this route goes may be taken in runs.
    #[inline]
    pub(crate) fn takes_repeats(&self, route: &Route) -> bool {
        // What a group has with a store is recorded one by one, and waits for its members there.
        let takes_runs = |durable: &Durable| durable.keeps_up() && route.targets.is_empty();
        route.takes_runs
            && self.durable.as_deref().is_none_or(takes_runs)
            && self.acl_is_open
            && self.joins.is_empty()
    }

    /// Takes the PUBLISH packets that repeat the topic of the client's last one, as far as they need nothing but copies. Returns
    /// how many bytes that were; 0: the first packet has to go the long way. To be asked if [`Shard::takes_repeats`].
    pub(crate) fn on_repeats(
        &mut self,
        client: Online,
        bytes: &[u8],
        rules: Rules,
        route: &Route,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        if !self.is_current(route) {
            return 0;
        }
        let mut list = core::mem::take(&mut self.scratch.repeats);
        let qos = self.collect_repeats(client, bytes, rules, route, &mut list);
        let records = fx.store.progress();
        let length = list.last().map_or(0, |last| last.end);
        if length > 0 {
            let run = Run {
                topic: route.topic().into(),
                qos,
                form: Form {
                    v5: rules.version.is_v5(),
                    has_id: qos != QoS::AtMostOnce,
                },
                origin: self.origin_of(client.session),
                is_for_one: route.plain.len() == 1,
                bytes: bytes.get(..length).unwrap_or_default(),
            };
            if let Some(connection) = self.connections.get_mut(client.conn) {
                connection.keep_alive.on_packet(now.as_millis());
            }
            self.counters.packets_received += list.len() as u64;
            self.counters.publishes_received += list.len() as u64;
            self.counters.publish_runs += 1;
            // At once and to all: nothing of the same publisher can come between.
            //= mqtt311 4.5.0-1
            //= mqtt311 4.6.0-5
            //= mqtt311 4.6.0-6
            //= mqtt5 4.6.0-5
            //= mqtt5 4.6.0-6
            self.give_run(&route.plain, run, &mut list, now, fx);
            let others = route.mask & !self.own_bit();
            let mut ask = None;
            if others != 0 {
                let asked = if qos == QoS::AtMostOnce {
                    0
                } else {
                    others & route.durable
                };
                ask = self.ask_for_run(client.conn, list.len(), asked);
                let silent = Purpose::of_route(route, None);
                self.send_run_to_each(others & !asked, silent, run, &list, fx);
                self.send_run_to_each(asked, Purpose::of_route(route, ask), run, &list, fx);
            }
            if let Some(group) = route.only_group() {
                self.give_run_to_group(group, run, &mut list, now, fx);
            }
            if qos != QoS::AtMostOnce {
                if qos == QoS::ExactlyOnce && self.durable.is_some() {
                    self.record_received_run(client.session, &list, fx);
                }
                let mut waits = Waits::NOTHING;
                if fx.store.progress() != records {
                    waits.batch = fx.store.newest();
                }
                waits.publish = ask.map_or(0, |ask| ask.publish.get());
                self.acknowledge_repeats((client.conn, qos), &list, waits, now, fx);
            }
        }
        list.clear();
        self.scratch.repeats = list;
        length
    }

    /// The beginning of a run: messages of one QoS, all of them new.
    #[inline]
    fn collect_repeats(
        &mut self,
        client: Online,
        bytes: &[u8],
        rules: Rules,
        route: &Route,
        list: &mut Vec<Repeat>,
    ) -> QoS {
        let mut run_qos = QoS::AtMostOnce;
        let budget_bytes = self.config.limits.memory_budget_bytes;
        let room_bytes = budget_bytes.saturating_sub(self.memory_bytes);
        // The one whose answer fills what may be held is the last one, as ever.
        let most = self.room_for_answers(client.conn).clamp(1, REPEATS_MAX);
        let own_bit = self.own_bit();
        let Some(state) = self.sessions.get_mut(client.session) else {
            return run_qos;
        };
        // The parts that several shards have of a QoS 2 message are recorded under a number of its own, if it may come again after a crash.
        let has_number = state.stored_as.is_some() && route.mask & route.durable & !own_bit != 0;
        let qos_max = if has_number {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        // Read once: a route has a cell in it, so the compiler would fetch them for each message.
        let topic = route.topic();
        let receivers = route.plain.len().max(1);
        let mut start = 0;
        while list.len() < most
            && let Some(rest) = bytes.get(start..)
            && let Some(repeat) = Publish::decode_repeated(rest, rules, topic)
        {
            let end = start + repeat.length;
            // Should all receivers have to keep all of it, the first message that is over the budget is the last one, as ever.
            let each_bytes = start + list.len() * KEPT_BYTES;
            if repeat.payload.len() >= CHAIN_THRESHOLD
                || repeat.qos > qos_max
                || (start > 0 && repeat.qos != run_qos)
                || each_bytes.saturating_mul(receivers) >= room_bytes
            {
                break;
            }
            let arrived = match (repeat.qos, repeat.packet_id) {
                (QoS::AtLeastOnce, _) => state.inbound.on_publish_qos1(),
                (QoS::ExactlyOnce, Some(id)) => state.inbound.on_publish_qos2(id),
                (QoS::AtMostOnce | QoS::ExactlyOnce, _) => InboundPublish::Fresh,
            };
            if arrived != InboundPublish::Fresh {
                break;
            }
            run_qos = repeat.qos;
            list.push(Repeat {
                start,
                end,
                payload_len: u32::try_from(repeat.payload.len()).unwrap_or(u32::MAX),
                packet_id: repeat.packet_id,
                message: None,
                body: None,
            });
            start = end;
        }
        run_qos
    }

    /// Gives a run to sessions whose subscription has this QoS and asks for nothing of its own.
    pub(crate) fn give_run(
        &mut self,
        receivers: &[(Key, QoS, bool)],
        run: Run<'_>,
        list: &mut [Repeat],
        now: Time,
        fx: &mut Effects,
    ) {
        for receiver in receivers {
            self.give_repeats(*receiver, run, list, now, fx);
        }
    }

    /// As [`Shard::give_run`], for one of them.
    fn give_repeats(
        &mut self,
        receiver: (Key, QoS, bool),
        run: Run<'_>,
        list: &mut [Repeat],
        now: Time,
        fx: &mut Effects,
    ) {
        let (key, granted, _) = receiver;
        let qos = granted.min(run.qos);
        let sent = self.send_repeats(key, qos, run, list, fx);
        let left = list.get_mut(sent..).unwrap_or_default();
        if left.is_empty() || self.queue_repeats(key, qos, run, left) {
            return;
        }
        for repeat in left {
            let mut publication = run.publication(repeat);
            publication.body = repeat.body;
            publication.is_for_one = run.is_for_one;
            self.give_to_plain(&[receiver], &mut publication, now, fx);
            repeat.body = publication.body;
            repeat.message = publication.into_kept();
        }
    }

    /// Puts the rest of a run into the queue of a session that is online, if something is in the way of all of it.
    fn queue_repeats(&mut self, key: Key, qos: QoS, run: Run<'_>, list: &mut [Repeat]) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return true;
        };
        if qos == QoS::AtMostOnce || !session.lets_runs_wait() {
            return false;
        }
        let before = session.queue.held_bytes();
        if !run.is_for_one {
            run.keep(list);
        }
        let limits = &self.config.limits;
        let mut rest = &*list;
        while let Some((message, count)) = run.keep_first(rest) {
            rest = rest.get(count..).unwrap_or_default();
            let messages = deliveries(Some(message), qos, count);
            session.wait(messages, limits, &mut self.counters, |_| {});
        }
        self.memory_bytes = (self.memory_bytes + session.queue.held_bytes()).saturating_sub(before);
        true
    }

    /// Copies a run into the outbox of a session, as far as the session's window allows; nothing if anything else than a copy is
    /// needed. Returns how many messages are dealt with.
    fn send_repeats(
        &mut self,
        key: Key,
        qos: QoS,
        run: Run<'_>,
        list: &mut [Repeat],
        fx: &mut Effects,
    ) -> usize {
        let Some(session) = self.sessions.get_mut(key) else {
            return list.len();
        };
        let Some(conn) = session.connection else {
            return 0;
        };
        let form = Form {
            v5: run.form.v5,
            has_id: qos != QoS::AtMostOnce,
        };
        if form != run.form || !session.is_idle() || !session.replays.is_empty() {
            return 0;
        }
        let room = if form.has_id {
            session.outbound.room()
        } else {
            list.len()
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return 0;
        };
        let count = room.min(list.len());
        let Some(sent) = list.get_mut(..count).filter(|sent| !sent.is_empty()) else {
            return 0;
        };
        let bytes = run
            .bytes
            .get(..sent.last().map_or(0, |last| last.end))
            .unwrap_or_default();
        //= mqtt5 3.1.2-24
        if connection.version().is_v5() != form.v5
            || connection.aliases_out.is_some()
            || bytes.len() > connection.packet_bytes_max as usize
            || connection.outbox.len() + bytes.len() > self.config.limits.outbox_bytes_max
        {
            // Each may still have room there on its own.
            return 0;
        }
        let mut stored = None;
        if let (Some(durable), Some(id), true) = (&mut self.durable, session.stored(), form.has_id)
        {
            durable.record_bodies(run, sent, fx);
            stored = Some(id);
            if qos == QoS::ExactlyOnce {
                // From here on: the records of their identifiers get into the batch that the bodies are in.
                self.counters.runs_withheld += 1;
                durable.withhold(connection, conn, fx);
            }
        }
        give_buffer(connection, &mut self.scratch.pool);
        let out = connection.outbox.bytes();
        let begin = out.len();
        out.extend_from_slice(bytes);
        let copied = out.get_mut(begin..).unwrap_or_default();
        if form.has_id {
            let held_bytes = match stored {
                Some(id) => {
                    let mut together = Together::new(RunOf::Queued(qos), id);
                    let record = |body, id| together.push(Some(body), id, fx);
                    let held = put_one_by_one::<true>(session, qos, run, sent, copied, record);
                    together.write(fx);
                    held
                }
                None => put_into_window(session, qos, run, sent, copied),
            };
            self.memory_bytes += held_bytes;
        }
        connection.counted_bytes += bytes.len();
        self.memory_bytes += bytes.len();
        to_be_written(connection, conn, fx);
        self.counters.publishes_sent += sent.len() as u64;
        self.counters.express_deliveries += sent.len() as u64;
        sent.len()
    }

    /// PUBACKs or PUBRECs for a whole run.
    fn acknowledge_repeats(
        &mut self,
        (conn, qos): (Key, QoS),
        list: &[Repeat],
        waits: Waits,
        now: Time,
        fx: &mut Effects,
    ) {
        //= mqtt5 4.3.2-4
        //= mqtt311 4.3.2-2
        //= mqtt5 4.3.3-8
        let kind = if qos == QoS::ExactlyOnce {
            AckKind::PubRec
        } else {
            AckKind::PubAck
        };
        let ids = list.iter().filter_map(|repeat| repeat.packet_id);
        self.answer_all(conn, (kind, list.len()), ids, waits, now, fx);
    }
}

/// Takes identifiers for messages whose packets were copied, and puts them and the flags right there. Returns what that adds to the
/// shard's memory.
fn put_into_window(
    session: &mut ClientSession,
    qos: QoS,
    run: Run<'_>,
    sent: &mut [Repeat],
    copied: &mut [u8],
) -> usize {
    if qos == QoS::AtLeastOnce {
        return put_together(session, run, sent, copied);
    }
    put_one_by_one::<false>(session, qos, run, sent, copied, |_, _| {})
}

/// As [`put_into_window`], for QoS 1.
#[inline(never)]
fn put_together(
    session: &mut ClientSession,
    run: Run<'_>,
    sent: &mut [Repeat],
    copied: &mut [u8],
) -> usize {
    let qos = QoS::AtLeastOnce;
    let is_kept = !session.is_passing();
    if is_kept && !run.is_for_one {
        run.keep(sent);
    }
    let mut held_bytes = 0;
    let mut rest = &*sent;
    while !rest.is_empty() {
        // Who cannot come back for it needs no copy of it.
        let kept = if is_kept { run.keep_first(rest) } else { None };
        let (message, count) = match kept {
            Some((message, count)) => (Some(message), count),
            None => (None, rest.len().min(SEVERAL_MAX)),
        };
        let (these, behind) = rest.split_at(count);
        rest = behind;
        let messages = deliveries(message, qos, count);
        held_bytes += messages.held_bytes();
        let mut repeats = these.iter();
        session.send(messages, |id| {
            if let Some(repeat) = repeats.next() {
                repeat.put_head(copied, qos, run.form, id);
            }
        });
    }
    held_bytes
}

/// As [`put_into_window`], each on its own: QoS 2, or, if the session is `STORED`, messages of which `record` gets the bodies and their
/// identifiers.
#[inline(never)]
fn put_one_by_one<const STORED: bool>(
    session: &mut ClientSession,
    qos: QoS,
    run: Run<'_>,
    sent: &mut [Repeat],
    copied: &mut [u8],
    mut record: impl FnMut(BodyId, PacketId),
) -> usize {
    let mut held_bytes = 0;
    let is_kept = !session.is_passing();
    if is_kept {
        run.keep(sent);
    }
    for repeat in sent {
        let kept = if is_kept { run.kept(repeat) } else { None };
        let delivery = Delivery {
            message: kept,
            body: if STORED { repeat.body } else { None },
            terms: Terms::bare(qos, false),
        };
        held_bytes += delivery.held_bytes();
        let id = session.outbound.send(qos == QoS::ExactlyOnce, delivery);
        debug_assert!(id.is_some(), "there was room");
        let Some(id) = id else { continue };
        repeat.put_head(copied, qos, run.form, id);
        if STORED && let Some(body) = repeat.body {
            record(body, id);
        }
    }
    held_bytes
}

/// Messages of a run for a receiver.
fn deliveries(message: Option<Kept>, qos: QoS, count: usize) -> Delivery {
    let count = u8::try_from(count).unwrap_or(u8::MAX);
    Delivery::of_run(message, Terms::bare(qos, false).of_several(count, 0))
}

/// The most messages in a run: what is remembered of them stays in the nearest cache.
const REPEATS_MAX: usize = 64;
/// What a message that has to be kept takes besides its packet, in the window or a queue.
const KEPT_BYTES: usize = 128;
