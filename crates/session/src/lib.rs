//! One peer's MQTT protocol state, shared by broker and client.
//!
//! Everything here is pure: no socket, clock, thread or random number. Time is an argument, in
//! milliseconds of the caller's monotonic clock.
//!
//! - [`Outbound`]: QoS 1 and 2 messages on their way to the peer: packet identifiers, the window
//!   that the peer's Receive Maximum allows, re-sends when a session is resumed.
//! - [`Inbound`]: QoS 1 and 2 messages coming from the peer: which QoS 2 packet identifiers are
//!   waiting for PUBREL, and whether the peer respects our Receive Maximum.
//! - [`InboundAliases`], [`OutboundAliases`]: topic aliases, per connection and direction.
//! - [`KeepAlive`]: when a silent peer counts as gone.
//!
//! ```
//! use martlet_codec::PacketId;
//! use martlet_session::{Outbound, PubRec, Resend, Stage};
//!
//! let mut outbound = Outbound::default();
//! outbound.start_connection(2); // the peer's Receive Maximum
//! let first = outbound.send(true, "a message at QoS 2");
//! assert_eq!(first, PacketId::new(1));
//! // The connection is lost and comes back: the same message, under the same identifier.
//! outbound.start_connection(2);
//! let id = PacketId::new(1).expect("not zero");
//! let resend = outbound.next_resend();
//! assert_eq!(resend, Some(Resend::Publish(id, Stage::AwaitPubRec, &"a message at QoS 2")));
//! assert_eq!(outbound.on_pubrec(id, false), PubRec::Release(Some("a message at QoS 2")));
//! assert!(outbound.on_pubcomp(id));
//! ```

#![no_std]
extern crate alloc;

mod aliases;
mod inbound;
mod keep_alive;
mod outbound;

pub use aliases::{AliasUse, InboundAliases, OutboundAliases};
pub use inbound::{Inbound, InboundPublish};
pub use keep_alive::KeepAlive;
pub use outbound::{Acknowledged, Outbound, PubRec, Resend, Stage};
