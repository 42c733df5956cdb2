//! The machine with a server made of strings: every packet of the client is one line of a transcript.
//!
//! Map: `rig` is the server, the clock and the application; the others are tests by subject.

mod framing;
mod keeping_alive;
mod limits;
mod publishing;
mod queueing;
mod receiving;
mod reconnecting;
mod resuming;
mod rig;
mod shuffled;
mod statements;
mod storing;
mod subscribing;
