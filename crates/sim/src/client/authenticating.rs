//! AUTH from the client's side: proofs for challenges, and authentication anew.

use martlet_codec::{Auth, Packet, PropertiesBuf, Property, ReasonCode};

use super::{Client, Duty};
use crate::ledger::Ledger;
use crate::rng::Rng;

impl Client {
    /// The method that its CONNECT has named.
    pub(super) fn method(&self) -> Option<&'static str> {
        let named = self.terms.as_ref().is_some_and(|terms| terms.method);
        named.then_some(METHOD)
    }

    /// A witness may not be closed because the authenticator is slow.
    pub(super) fn may_reauthenticate(&self, ledger: &Ledger) -> bool {
        let safe = !self.steady || ledger.limits.authentication_timeout_ms >= PATIENT_MS;
        self.method().is_some() && !self.reauthenticates && safe
    }

    /// Whether it authenticates anew; it has nothing else to wait for meanwhile.
    pub(crate) const fn reauthenticates(&self) -> bool {
        self.reauthenticates
    }

    pub(super) fn reauthenticate(&mut self) {
        self.reauthenticates = true;
        self.put_auth(ReasonCode::ReAuthenticate, None);
    }

    pub(super) fn put_auth(&mut self, reason: ReasonCode, proof: Option<u32>) {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(METHOD));
        let proof = proof.map(u32::to_be_bytes);
        if let Some(proof) = &proof {
            properties.push(Property::AuthenticationData(proof));
        }
        self.put(&Packet::Auth(Auth {
            reason,
            properties: properties.as_properties(),
        }));
    }

    /// A challenge, or the good end of an authentication anew. Now and then it cannot prove who it is.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, rng: &mut Rng) -> Result<(), String> {
        if self.method().is_none() || auth.properties.authentication_method() != self.method() {
            return Err("another method than ours".into());
        }
        if self.online && !self.reauthenticates {
            return Err("we have not asked for that".into());
        }
        match auth.reason {
            ReasonCode::ContinueAuthentication => {
                let challenge = data_of(auth.properties.authentication_data());
                let challenge = challenge.ok_or("a challenge without data")?;
                let lies = !self.steady && rng.one_in(12);
                let proof = if lies {
                    challenge
                } else {
                    answer_to(challenge)
                };
                self.duties.push_back(Duty::Proof(proof));
                Ok(())
            }
            ReasonCode::Success if self.online => {
                self.reauthenticates = false;
                Ok(())
            }
            _ => Err("out of turn".into()),
        }
    }
}

/// The right answer to a challenge.
pub(crate) const fn answer_to(challenge: u32) -> u32 {
    !challenge
}

/// Authentication Data of this method.
pub(crate) fn data_of(data: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(data?.try_into().ok()?))
}

/// A time-out that no run reaches.
pub(crate) const PATIENT_MS: u64 = 1 << 40;
/// The method of all of them.
pub(super) const METHOD: &str = "TOY";
