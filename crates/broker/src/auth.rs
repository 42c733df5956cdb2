//! Authentication backends: asked on a thread of their own, answered by ticket.
//!
//! ```text
//! shard ── question ──> authenticator thread ── Authenticator::question ──> wherever it looks it up
//!   ^                                                                              │
//!   └───────────────────── mailbox of the shard <── Answer::give ──────────────────┘
//! ```
//! A shard never runs a backend's code and never waits for it: the connection is parked until its answer comes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use martlet_codec::ReasonCode;
use martlet_engine::{AuthQuestion, AuthTicket, Verdict};
use tokio::sync::mpsc::UnboundedSender;

use crate::driver::Mail;

/// Decides who may connect.
///
/// [`question`](Self::question) is called on a thread of its own for one question after the other; it should hand
/// slow work (a data base, a web service) to somebody else, together with the [`Answer`].
///
/// ```
/// use martlet_broker::{Answer, AuthQuestion, Authenticator, ReasonCode, Verdict};
///
/// struct OneUser;
///
/// impl Authenticator for OneUser {
///     fn question(&self, question: AuthQuestion, answer: Answer) {
///         let known = question.user_name.as_deref() == Some("ann")
///             && question.password.as_deref() == Some(b"secret".as_slice());
///         answer.give(if known {
///             Verdict::Accept { data: None }
///         } else {
///             Verdict::Refuse { reason: ReasonCode::BadUserNameOrPassword }
///         });
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// Takes one question; the answer may be given now or later, from any thread.
    fn question(&self, question: AuthQuestion, answer: Answer);
}

/// The way back for one verdict. Dropping it without a verdict refuses the client.
#[derive(Debug)]
pub struct Answer {
    ticket: AuthTicket,
    mailbox: UnboundedSender<Mail>,
    given: bool,
}

impl Answer {
    /// Gives the verdict. If the client has gone in the meantime, nothing happens.
    pub fn give(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: Verdict) {
        self.given = true;
        // Fails only when the broker has stopped: then nobody waits for it.
        let _ = self.mailbox.send(Mail::Verdict(self.ticket, verdict));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.send(Verdict::Refuse {
                reason: ReasonCode::ServerUnavailable,
            });
        }
    }
}

/// The shards' end of the line to the authenticator's thread.
#[derive(Debug, Clone)]
pub(crate) struct AuthLine(mpsc::Sender<(AuthQuestion, Answer)>);

impl AuthLine {
    /// Starts the thread; it ends when every shard has dropped its line.
    pub(crate) fn start(authenticator: Arc<dyn Authenticator>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<(AuthQuestion, Answer)>();
        thread::Builder::new()
            .name("martlet-auth".to_owned())
            .spawn(move || {
                for (question, answer) in receiver {
                    // A backend that panics must not let anybody in nor keep others out: the answer is dropped
                    // on the way, which refuses this one client.
                    let ask = AssertUnwindSafe(|| authenticator.question(question, answer));
                    if catch_unwind(ask).is_err() {
                        tracing::error!("the authenticator panicked; the client is refused");
                    }
                }
            })?;
        Ok(Self(sender))
    }

    /// Passes a question on; `mailbox` is the shard that asks. At most one question per connection is open.
    pub(crate) fn ask(&self, question: AuthQuestion, mailbox: UnboundedSender<Mail>) {
        let answer = Answer {
            ticket: question.ticket,
            mailbox,
            given: false,
        };
        // If the thread is gone, the answer comes back in the error, is dropped, and so refuses.
        drop(self.0.send((question, answer)));
    }
}
