//! Long random runs: whatever the application, the server and the network do, in the end everything
//! has an outcome and nothing is leaked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use martlet_codec::ReasonCode;

use super::rig::{Rig, both};
use crate::machine::{OpId, StreamId};
use crate::message::Message;
use crate::options::{OnFull, Outbox, Session};

/// A server with a session: acknowledges in random order, sends again after a reconnect.
#[derive(Default)]
struct Server {
    /// Messages of the client that wait for their answer: identifier to QoS and stage.
    pending: Vec<(u16, u8)>,
    /// QoS 2 identifiers between PUBREC and PUBREL.
    received: BTreeSet<u16>,
    /// What it was given, by payload.
    delivered: BTreeMap<String, usize>,
    requests: Vec<(u16, usize, bool)>,
    /// Its own messages that the client has not acknowledged.
    outgoing: BTreeMap<u16, (u8, String, bool)>,
    next_id: u16,
    acknowledged: BTreeSet<String>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

impl Server {
    fn read(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let id = |word: &str| word[1..].parse::<u16>().unwrap();
            match words[0] {
                "PUBLISH" => {
                    let at = words.iter().position(|word| word.starts_with('q')).unwrap();
                    let qos: u8 = words[at][1..].parse().unwrap();
                    let payload = line.split("a=").nth(1).unwrap();
                    let payload = payload.split(' ').next().unwrap().to_owned();
                    if qos == 0 {
                        *self.delivered.entry(payload).or_default() += 1;
                        continue;
                    }
                    let id = id(words[at + 1]);
                    assert!(
                        !self.pending.contains(&(id, 1)) || words[1] == "dup",
                        "{line}"
                    );
                    if qos == 1 || self.received.insert(id) {
                        *self.delivered.entry(payload).or_default() += 1;
                    }
                    self.pending.push((id, qos));
                }
                "PUBREL" => self.pending.push((id(words[1]), 3)),
                "PUBACK" => {
                    let (_, payload, _) = self.outgoing.remove(&id(words[1])).unwrap();
                    self.acknowledged.insert(payload);
                }
                "PUBREC" => self.outgoing.get_mut(&id(words[1])).unwrap().2 = true,
                "PUBCOMP" => {
                    if let Some((_, payload, _)) = self.outgoing.remove(&id(words[1])) {
                        self.acknowledged.insert(payload);
                    }
                }
                "SUBSCRIBE" => {
                    let filters = words[2..].iter().filter(|word| word.contains(':')).count();
                    self.requests.push((id(words[1]), filters, true));
                }
                "UNSUBSCRIBE" => self.requests.push((id(words[1]), 0, false)),
                "CONNECT" | "PINGREQ" | "DISCONNECT" => {}
                other => panic!("{other}"),
            }
        }
    }

    fn answer(&mut self, rig: &mut Rig, random: &mut Random) {
        if !self.pending.is_empty() {
            let (id, kind) = self.pending.swap_remove(random.below(self.pending.len()));
            match kind {
                1 => rig.puback(id),
                2 => rig.pubrec(id, ReasonCode::Success),
                _ => {
                    self.received.remove(&id);
                    rig.pubcomp(id);
                }
            }
        }
        if let Some((id, filters, subscribe)) = self.requests.pop() {
            if subscribe {
                rig.suback(id, &vec![2; filters]);
            } else {
                rig.unsuback(id);
            }
        }
        let open: Vec<u16> = self
            .outgoing
            .iter()
            .filter(|(_, one)| one.2)
            .map(|(id, _)| *id)
            .collect();
        if let Some(id) = open.first() {
            rig.pubrel(*id);
        }
    }

    fn publish(&mut self, rig: &mut Rig, qos: u8, payload: &str) {
        self.next_id = self.next_id % 60_000 + 1;
        while self.outgoing.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        rig.publish(self.next_id, qos, "a", payload, false);
        self.outgoing
            .insert(self.next_id, (qos, payload.to_owned(), false));
    }

    /// The session goes on: what has no answer is sent again.
    fn resume(&mut self, rig: &mut Rig) {
        self.pending.clear();
        self.requests.clear();
        for (id, (qos, payload, released)) in self.outgoing.clone() {
            if released {
                rig.pubrel(id);
            } else {
                rig.publish(id, qos, "a", &payload, true);
            }
        }
    }
}

struct Run {
    rig: Rig,
    server: Server,
    random: Random,
    online: bool,
    sent: u32,
    ops: BTreeMap<u32, (OpId, u8)>,
    stream: Option<StreamId>,
    taken: Vec<String>,
    resumes: bool,
}

impl Run {
    fn step(&mut self) {
        let lines = self.rig.sent();
        if self.online {
            self.server.read(&lines);
        }
        match self.random.below(12) {
            0..=3 => {
                self.sent += 1;
                let qos = u8::try_from(self.random.below(3)).unwrap();
                let message = Message::new("a", self.sent).qos(qos);
                if let Ok(op) = self.rig.try_send(message) {
                    self.ops.insert(self.sent, (op, qos));
                    if self.random.below(20) == 0 {
                        self.rig.machine.cancel(op);
                    }
                }
            }
            4..=6 if self.online => {
                let (rig, random) = (&mut self.rig, &mut self.random);
                self.server.answer(rig, random);
            }
            7 if self.online && self.server.outgoing.len() < 30 => {
                let qos = u8::try_from(1 + self.random.below(2)).unwrap();
                let payload = format!("s{}", self.random.below(1_000_000_000));
                self.server.publish(&mut self.rig, qos, &payload);
            }
            8 | 9 => {
                if let Some(stream) = self.stream {
                    self.taken.extend(
                        self.rig
                            .machine
                            .recv(stream)
                            .map(|(one, _)| one.text().into_owned()),
                    );
                }
            }
            10 => self.rig.advance(Duration::from_millis(100)),
            11 if self.random.below(20) == 0 => self.break_link(),
            _ => {}
        }
        if !self.online && self.rig.transport.last() == Some(&"open") {
            self.connect();
        }
    }

    fn break_link(&mut self) {
        if self.online {
            // Some of what the client has written has arrived, some has not.
            self.online = false;
            self.rig.cut();
        }
    }

    fn connect(&mut self) {
        self.rig.transport.clear();
        let present = self.resumes && self.rig.machine.stats().connections > 0;
        self.rig.accept(present);
        self.online = self.rig.machine.state(self.rig.now).is_connected();
        if present {
            self.server.resume(&mut self.rig);
        } else {
            let delivered = std::mem::take(&mut self.server.delivered);
            self.server = Server {
                delivered,
                ..Server::default()
            };
        }
    }

    /// Everything gets its answer.
    fn finish(&mut self) {
        for _ in 0..200_000 {
            let lines = self.rig.sent();
            if self.online {
                self.server.read(&lines);
                let (rig, random) = (&mut self.rig, &mut self.random);
                self.server.answer(rig, random);
            } else if self.rig.transport.last() == Some(&"open") {
                self.connect();
            } else {
                self.rig.advance(Duration::from_secs(1));
            }
            if let Some(stream) = self.stream {
                self.taken.extend(self.rig.take(stream));
            }
            let stats = self.rig.machine.stats();
            if self.online
                && stats.queued + stats.in_flight + stats.unacknowledged == 0
                && self.server.outgoing.is_empty()
            {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.rig.machine.stats());
    }
}

fn run(config: &crate::machine::Config, seed: u64, resumes: bool) {
    let mut rig = Rig::new(config.clone());
    rig.machine.start(rig.now, None);
    let (stream, _) = rig.subscribe(&["a"], 2);
    let mut run = Run {
        rig,
        server: Server::default(),
        random: Random(seed),
        online: false,
        sent: 0,
        ops: BTreeMap::new(),
        stream: Some(stream),
        taken: Vec::new(),
        resumes,
    };
    for _ in 0..3_000 {
        run.step();
    }
    run.finish();
    for (number, (op, qos)) in run.ops.clone() {
        let fate = run.rig.fate(op);
        let arrived = run
            .server
            .delivered
            .get(&number.to_string())
            .copied()
            .unwrap_or(0);
        let story = format!("seed {seed}: {number} at QoS {qos}: {fate}, arrived {arrived} times");
        assert_ne!(fate, "pending", "{story}");
        match fate.as_str() {
            "published" if qos > 0 => assert!(arrived >= 1, "{story}"),
            fate if fate.ends_with(" No") => assert_eq!(arrived, 0, "{story}"),
            _ => {}
        }
        if qos == 2 && resumes {
            assert!(arrived <= 1, "{story}");
        }
    }
    if resumes {
        let mut once = BTreeSet::new();
        for message in &run.taken {
            assert!(
                once.insert(message),
                "seed {seed}: {message} was handed out twice"
            );
        }
        for message in &run.server.acknowledged {
            assert!(
                once.contains(message),
                "seed {seed}: {message} was acknowledged unseen"
            );
        }
    }
}

#[test]
fn must_have_10_random_runs_end_with_every_outcome_known_and_nothing_leaked() {
    both(|mut config| {
        config.client_id = "me".into();
        config.outbox = Outbox::memory()
            .max_messages(20)
            .on_full(OnFull::DropOldest);
        config.in_flight_max = 10;
        for seed in 0..150 {
            config.session = Session::fresh(Duration::from_secs(3_600));
            run(&config, seed, true);
            config.session = Session::clean();
            run(&config, seed, false);
        }
    });
}
