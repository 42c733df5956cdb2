//! What each packet of a client does, from its bytes on; each file has an `impl Shard`.
//!
//! Map: `reading` decodes and hands out; `connecting` and `refusing` are CONNECT, `authentication` AUTH, `publishing` PUBLISH and
//! PUBREL, `answering` what they are answered with, `settling` the acknowledgements of receivers, `subscribing` SUBSCRIBE and
//! UNSUBSCRIBE, `pending` their answers, `closing` DISCONNECT and every other end. `repeats` and `runs` take many of one kind at once, `ahead` looks up
//! many topics at once.

pub(crate) mod ahead;
pub(crate) mod answering;
pub(crate) mod authentication;
pub(crate) mod closing;
pub(crate) mod connecting;
pub(crate) mod pending;
pub(crate) mod publishing;
pub(crate) mod reading;
pub(crate) mod refusing;
pub(crate) mod repeats;
pub(crate) mod runs;
pub(crate) mod settling;
pub(crate) mod subscribing;
