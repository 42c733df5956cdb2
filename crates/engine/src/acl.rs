//! Who may publish and subscribe to what: asked synchronously, answered from memory.

use martlet_codec::Version;

/// The client that asks.
#[derive(Debug, Clone, Copy)]
pub struct ClientInfo<'a> {
    /// Its client identifier.
    pub client_id: &'a str,
    /// The protocol version it speaks.
    pub version: Version,
}

/// Rules that a shard asks for every publish and subscribe. Must not block.
pub trait Acl: Send + core::fmt::Debug {
    /// Whether the client may publish to this topic name.
    fn may_publish(&self, client: ClientInfo<'_>, topic: &str) -> bool;
    /// Whether the client may subscribe to this topic filter (without `$share/name/`).
    fn may_subscribe(&self, client: ClientInfo<'_>, filter: &str) -> bool;
    /// Whether both say yes to everything, now and for ever: then a shard does not ask for each message.
    fn allows_everything(&self) -> bool {
        false
    }
}

/// Everybody may do everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Acl for AllowAll {
    fn may_publish(&self, _client: ClientInfo<'_>, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _client: ClientInfo<'_>, _filter: &str) -> bool {
        true
    }

    fn allows_everything(&self) -> bool {
        true
    }
}
