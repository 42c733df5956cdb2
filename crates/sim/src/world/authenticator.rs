//! The authenticator of a run: it takes its time, refuses some, challenges some, answers when the client has gone, answers twice, or
//! never.
//!
//! It is there in runs with [`Options::asks`](crate::Options::asks). What it has said stands in the ledger, for `admitted`.

use std::collections::BTreeMap;

use martlet_codec::ReasonCode;
use martlet_engine::{AuthKind, AuthQuestion, AuthTicket, ConnId, Verdict};

use super::{Failure, World, fail};
use crate::client::{PATIENT_MS, answer_to, data_of};
use crate::ledger::{Answer, Event};

/// What it was asked and has not forgotten.
#[derive(Debug, Default)]
pub(super) struct Authenticator {
    asked: Vec<Asked>,
    /// The question that each connection waits for.
    newest: BTreeMap<(usize, ConnId), AuthTicket>,
    /// The last challenge of each.
    challenges: BTreeMap<(usize, ConnId), u32>,
    challenges_made: u32,
    /// Of all processes: to somebody who waited, and to nobody.
    answers: (usize, usize),
}

#[derive(Debug)]
struct Asked {
    shard: usize,
    question: AuthQuestion,
    answered: bool,
}

impl Authenticator {
    fn challenge(&mut self, at: (usize, ConnId)) -> Verdict {
        self.challenges_made += 1;
        self.challenges.insert(at, self.challenges_made);
        let data = self.challenges_made.to_be_bytes();
        Verdict::Challenge {
            data: Some(data.into()),
        }
    }
}

impl World {
    /// A shard asks.
    pub(super) fn ask_authenticator(&mut self, shard: usize, question: AuthQuestion) {
        let conn = question.ticket.conn();
        self.authenticator
            .newest
            .insert((shard, conn), question.ticket);
        self.ledger.events.push(Event::Asked { shard, conn });
        self.authenticator.asked.push(Asked {
            shard,
            question,
            answered: false,
        });
    }

    /// A process has begun that never asked anything.
    pub(super) fn forget_questions(&mut self) {
        let old = core::mem::take(&mut self.authenticator);
        self.authenticator = Authenticator {
            challenges_made: old.challenges_made,
            answers: old.answers,
            ..Authenticator::default()
        };
    }

    /// It answers something, or decides not to.
    pub(super) fn authenticator_acts(&mut self) -> Result<(), Failure> {
        let count = self.authenticator.asked.len();
        if count == 0 {
            return Ok(());
        }
        let at = self.rng.below(count);
        if self.rng.one_in(30) {
            // It has lost the question: somebody will be closed for that.
            let question = &self.authenticator.asked[at].question;
            let timeout_ms = self.ledger.limits.authentication_timeout_ms;
            if timeout_ms < PATIENT_MS && !self.is_steady(question) {
                self.authenticator.asked.remove(at);
            }
            return Ok(());
        }
        self.answer(at, false)
    }

    pub(crate) const fn answers(&self) -> (usize, usize) {
        self.authenticator.answers
    }

    /// Everybody who wants to come in gets an answer, and nobody a refusal that it has not earned. Whether there was a question.
    pub(crate) fn authenticator_comes_to_rest(&mut self) -> Result<bool, Failure> {
        self.answer_all(|world, asked| !world.is_in(asked))
    }

    /// The same for those who are in, and authenticate anew.
    pub(crate) fn reauthentications_end(&mut self) -> Result<bool, Failure> {
        self.answer_all(|_, _| true)
    }

    fn answer_all(&mut self, of: impl Fn(&Self, &Asked) -> bool) -> Result<bool, Failure> {
        let mut any = false;
        loop {
            let asked = &self.authenticator.asked;
            let Some(at) = asked.iter().position(|asked| of(self, asked)) else {
                return Ok(any);
            };
            self.answer(at, true)?;
            any = true;
        }
    }

    fn is_in(&self, asked: &Asked) -> bool {
        let id = self.conns.get(&(asked.shard, asked.question.ticket.conn()));
        id.and_then(|id| self.links.get(id))
            .is_some_and(|link| link.accepted)
    }

    fn is_steady(&self, question: &AuthQuestion) -> bool {
        let mut clients = self.clients.iter();
        clients.any(|client| client.steady && *client.name == *question.client_id)
    }

    fn answer(&mut self, at: usize, calm: bool) -> Result<(), Failure> {
        let asked = &self.authenticator.asked[at];
        let (shard, ticket) = (asked.shard, asked.question.ticket);
        let has_method = asked.question.method.is_some();
        let place = (shard, ticket.conn());
        let verdict = if asked.answered {
            // Once more, and not the same.
            let wrong = ReasonCode::ImplementationSpecificError;
            match self.rng.below(3) {
                0 => Verdict::Accept { data: None },
                1 => Verdict::Challenge { data: None },
                _ => Verdict::Refuse { reason: wrong },
            }
        } else {
            self.decide(at, calm)
        };
        let newest = self.authenticator.newest.get(&place) == Some(&ticket);
        let is_current =
            newest && !self.authenticator.asked[at].answered && self.conns.contains_key(&place);
        if self.authenticator.asked[at].answered || calm || self.rng.percent(60) {
            self.authenticator.asked.remove(at);
        } else {
            self.authenticator.asked[at].answered = true;
        }
        if newest {
            self.authenticator.newest.remove(&place);
        }
        if is_current {
            self.authenticator.answers.0 += 1;
        } else {
            self.authenticator.answers.1 += 1;
        }
        self.ledger.events.push(Event::Answered {
            shard,
            conn: place.1,
            is_current,
            answer: match &verdict {
                Verdict::Accept { .. } => Answer::Accept,
                Verdict::Challenge { .. } if has_method => Answer::Challenge,
                Verdict::Challenge { .. } => Answer::Refuse(ReasonCode::NotAuthorized),
                Verdict::Refuse { reason } => Answer::Refuse(*reason),
            },
        });
        let now = self.shard_now();
        self.trace(7, shard, &[u8::from(is_current)]);
        self.shards[shard].on_verdict(ticket, verdict, now, &mut self.effects[shard]);
        if !is_current && !self.effects[shard].is_empty() {
            let what = format!("an answer that nobody waits for has effects: {ticket:?}");
            return Err(fail("admitted", what));
        }
        self.harvest(shard);
        self.observe()
    }

    fn decide(&mut self, at: usize, calm: bool) -> Verdict {
        let asked = &self.authenticator.asked[at];
        let place = (asked.shard, asked.question.ticket.conn());
        let has_method = asked.question.method.is_some();
        let kind = asked.question.kind;
        let patient = calm || self.is_steady(&asked.question);
        let proof = data_of(asked.question.data.as_deref());
        let accept = Verdict::Accept { data: None };
        let refuse = |reason| Verdict::Refuse { reason };
        if kind == AuthKind::Continue {
            let challenge = self.authenticator.challenges.get(&place).copied();
            if challenge.map(answer_to) != proof {
                return refuse(ReasonCode::NotAuthorized);
            }
            return if !calm && self.rng.one_in(5) {
                self.authenticator.challenge(place)
            } else {
                accept
            };
        }
        let refusals = if kind == AuthKind::Reauthenticate {
            25
        } else {
            10
        };
        match self.rng.below(100) {
            n if n < refusals && !patient => refuse(ReasonCode::BadUserNameOrPassword),
            // Who has named no method cannot be challenged: that is a refusal.
            n if n < 50 && (has_method || (!patient && self.rng.one_in(8))) => {
                self.authenticator.challenge(place)
            }
            _ => accept,
        }
    }
}
