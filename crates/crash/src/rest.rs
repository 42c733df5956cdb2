//! Everything comes to rest, and the books are checked.
//!
//! All clients are back and end what they have begun; then a *marker* goes to every topic, so that a subscription that
//! is gone can be told from a message that is lost; then everybody gets what is owed, and silence follows; then a
//! guest asks what is retained.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use martlet_codec::{QoS, Version};

use crate::client::Client;
use crate::faults::Kind;
use crate::ledger::{Debt, message_in};
use crate::life::{Life, Mode};
use crate::plan::{Habits, PLAIN, RETAINED, WILLS};

impl Life {
    /// Brings everything to rest and checks the books.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        self.mode = Mode::Rest;
        self.tally.checks += 1;
        let settled = |life: &Self| {
            let mut present = life
                .clients
                .iter()
                .filter(|client| client.back_at_ms.is_some());
            present.all(|client| client.is_settled(&life.ledger))
        };
        if !self.wait_for(settled)? {
            return Ok(());
        }
        let marker = self.ledger.messages.len();
        if !self.send_markers()? {
            return Ok(());
        }
        let debts = self.collect()?;
        if !debts.is_empty() {
            self.ledger.write_off(&debts, marker);
        }
        self.fall_silent()?;
        self.ask_what_is_retained()?;
        self.checked = self.ledger.messages.len();
        // Whoever has stayed away for the sake of its will may come back.
        let now = self.now_ms();
        for client in &mut self.clients {
            client.back_at_ms.get_or_insert(now);
        }
        Ok(())
    }

    /// Turns until it is so, or nothing has happened for long. Says whether it is.
    fn wait_for(&mut self, mut done: impl FnMut(&Self) -> bool) -> io::Result<bool> {
        self.listen_anew();
        while !done(self) {
            if self.ledger.faults.count(Kind::Broker) > 0 {
                return Ok(false);
            }
            if self.since_last_arrival() > PATIENCE {
                let waiting: Vec<_> = self
                    .clients
                    .iter()
                    .filter(|client| client.back_at_ms.is_some() && !client.is_idle(&self.ledger))
                    .map(Client::waits_for)
                    .collect();
                self.ledger.faults.add(Kind::Stuck, waiting.join("\n  "));
                return Ok(false);
            }
            self.turn(Duration::from_millis(1))?;
        }
        Ok(true)
    }

    /// One acknowledged message to each topic, from a client of its own.
    fn send_markers(&mut self) -> io::Result<bool> {
        let index = self.add_guest("marker", Vec::new());
        let online = move |life: &Self| life.clients[index].is_settled(&life.ledger);
        if !self.wait_for(online)? {
            return Ok(false);
        }
        for topic in PLAIN.chain(RETAINED).chain(WILLS) {
            self.clients[index].publish_to(
                topic,
                QoS::AtLeastOnce,
                &mut self.rng,
                &mut self.ledger,
            );
        }
        let acknowledged = self.wait_for(online)?;
        self.dismiss(index);
        Ok(acknowledged)
    }

    /// Waits until everything owed has arrived, or nothing arrives any more. Returns what is still owed.
    fn collect(&mut self) -> io::Result<Vec<Debt>> {
        let mut debts = self.ledger.debts(self.checked);
        self.listen_anew();
        loop {
            debts.retain(|debt| !self.ledger.is_paid(*debt));
            let mut present = self
                .clients
                .iter()
                .filter(|client| client.back_at_ms.is_some());
            let idle = present.all(|client| client.is_idle(&self.ledger));
            if debts.is_empty() && idle {
                return Ok(debts);
            }
            if self.since_last_arrival() > PATIENCE || self.ledger.faults.count(Kind::Broker) > 0 {
                if !idle {
                    self.ledger
                        .faults
                        .add(Kind::Stuck, "flows to clients do not end");
                }
                return Ok(debts);
            }
            self.turn(Duration::from_millis(1))?;
        }
    }

    /// Waits for what should not come.
    fn fall_silent(&mut self) -> io::Result<()> {
        self.listen_anew();
        let end = Instant::now() + SILENCE * 20;
        while self.since_last_arrival() < SILENCE && Instant::now() < end {
            self.turn(Duration::from_millis(2))?;
        }
        Ok(())
    }

    fn ask_what_is_retained(&mut self) -> io::Result<()> {
        let index = self.add_guest("asker", vec![("r/#".to_owned(), QoS::AtLeastOnce)]);
        self.clients[index].note_retained();
        let granted = move |life: &Self| life.clients[index].is_settled(&life.ledger);
        if self.wait_for(granted)? {
            self.fall_silent()?;
            let mut got = BTreeMap::new();
            for (topic, payload) in self.clients[index].noted() {
                got.insert(*topic, message_in(payload).unwrap_or(usize::MAX));
            }
            self.ledger.check_retained(RETAINED, &got);
        }
        self.dismiss(index);
        Ok(())
    }

    /// A client without durable session, only for the check. It is the last one.
    fn add_guest(&mut self, name: &str, filters: Vec<(String, QoS)>) -> usize {
        let version = *self.rng.pick(&[Version::V311, Version::V5]);
        let index = self.clients.len();
        let habits = Habits {
            name: name.to_owned(),
            version,
            durable: false,
            topics: Vec::new(),
            retains: false,
            window: 50,
            filters,
            group: None,
            will: None,
            diligence: 100,
            restlessness: usize::MAX,
            fickle: false,
            sleepy: false,
            lowest_identifier: false,
            receive_maximum: None,
        };
        self.clients.push(Client::new(index, habits));
        index
    }

    fn dismiss(&mut self, index: usize) {
        self.leave(index);
        self.clients.truncate(index);
    }
}

/// How long nothing may happen before something is called lost or stuck.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long nothing has to happen before it is called silence.
const SILENCE: Duration = Duration::from_millis(60);
