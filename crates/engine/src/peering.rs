//! Batches from other shards, and from this shard to itself.
//!
//! Map: `peers` are the messages, `packing` puts small ones together; `relay` and `relaying` are the way of retained messages over
//! the shard of their topic, `parts` a publish that several shards have a part in.

pub(crate) mod packing;
pub(crate) mod parts;
pub(crate) mod peers;
pub(crate) mod relay;
pub(crate) mod relaying;

use alloc::vec::Vec;

use crate::effects::Effects;
use crate::peering::peers::Peer;
use crate::peering::relay::{Mark, Place};
use crate::peering::relaying::RetainedRelay;
use crate::publication::Publication;
use crate::retaining::ChunkFor;
use crate::sending::delivery::GroupTag;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// One message of shard `from`.
    pub(crate) fn on_peer(&mut self, from: usize, peer: Peer, now: Time, fx: &mut Effects) {
        match peer {
            Peer::Packed(pack) => self.on_packed(from, pack, now, fx),
            Peer::Publish { message, ask } => {
                if self.joins.must_hold(message.topic_bytes(), from) {
                    self.joins.hold(message, from, ask);
                } else {
                    self.deliver_here(&message, ask, now, fx);
                }
            }
            peer @ (Peer::RelayRequest { .. } | Peer::RelayMark { .. } | Peer::Relayed { .. }) => {
                self.on_relay_peer(from, peer, now, fx);
            }
            Peer::Stored { publish, count } => self.on_stored(publish, count, now, fx),
            Peer::Settled { publish } => self.on_settled(publish),
            Peer::Restored { doubts } => self.on_restored(&doubts, now, fx),
            Peer::RetainedRequest {
                session,
                replay,
                filter,
                after,
            } => {
                let to = ChunkFor {
                    shard: from,
                    session,
                    replay,
                };
                self.on_retained_request(to, &filter, after.as_deref(), now, fx);
            }
            Peer::RetainedChunk {
                session,
                replay,
                mut messages,
                next,
                tells_clearings,
            } => {
                if tells_clearings {
                    self.tell_clearings(session, replay, &mut messages, next.as_deref());
                }
                self.on_retained_chunk(session, replay, messages, next, now, fx);
            }
            peer @ (Peer::GroupJoin { .. }
            | Peer::GroupTaken { .. }
            | Peer::GroupLeave { .. }
            | Peer::GroupOnline { .. }
            | Peer::GroupOffline { .. }
            | Peer::GroupReturn { .. }
            | Peer::GroupOffer { .. }
            | Peer::GroupDone { .. }
            | Peer::GroupLetGo { .. }
            | Peer::GroupCredit { .. }) => self.on_group_peer(from, peer, now, fx),
        }
    }

    /// What concerns retained messages on their way.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`on_peer` has sorted them")]
    fn on_relay_peer(&mut self, from: usize, peer: Peer, now: Time, fx: &mut Effects) {
        match peer {
            Peer::RelayRequest {
                message,
                sequence,
                targets,
                ask,
                asked,
            } => {
                let records = fx.store.progress();
                let message = message.into_own();
                let mut publication = Publication::of(&message);
                self.begin_taking(&mut publication, ask);
                let relay = RetainedRelay {
                    mark: Mark {
                        origin: from,
                        sequence,
                    },
                    marked: targets,
                    ask,
                    asked,
                };
                self.retain_and_relay(&mut publication, relay, now, fx);
                self.confirm(ask, records, fx);
            }
            Peer::RelayMark {
                topic_hash,
                sequence,
            } => {
                let mut ready = Vec::new();
                let origin = from;
                self.joins
                    .on_mark(topic_hash, Mark { origin, sequence }, &mut ready);
                self.deliver_ready(ready, now, fx);
            }
            Peer::Relayed {
                message,
                origin,
                sequence,
                marked,
                ask,
            } => {
                let mark = Mark { origin, sequence };
                let place = match marked {
                    true => Place::Marked(mark),
                    false if origin == from => Place::Arrival(mark),
                    false => Place::Late,
                };
                let mut ready = Vec::new();
                self.joins.on_relayed(message, place, ask, &mut ready);
                self.deliver_ready(ready, now, fx);
            }
            _ => debug_assert!(false, "handled by on_peer"),
        }
    }

    /// What concerns shared subscriptions.
    fn on_group_peer(&mut self, from: usize, peer: Peer, now: Time, fx: &mut Effects) {
        match peer {
            Peer::GroupJoin { filter, join } => self.on_group_join(from, &filter, join, now, fx),
            Peer::GroupTaken { ticket } => self.answer_part_done(ticket, now, fx),
            Peer::GroupLeave {
                filter,
                session,
                ticket,
            } => self.on_group_leave(from, &filter, (session, ticket), fx),
            Peer::GroupOnline {
                filter,
                session,
                window,
                durable,
            } => {
                let member = (from, session);
                self.on_group_online(member, &filter, (window, durable), now, fx);
            }
            Peer::GroupOffline { filter, session } => {
                self.on_group_offline(from, &filter, session);
            }
            Peer::GroupReturn { group, messages } => {
                self.on_group_return(group, messages, now, fx);
            }
            Peer::GroupOffer {
                session,
                group,
                sequence,
                message,
                options,
                stored,
            } => {
                let body = stored.as_ref().map(|stored| stored.body);
                let tag = GroupTag {
                    owner: from,
                    group,
                    sequence,
                    stored: stored.map(|stored| stored.filter),
                };
                let body = body.filter(|_| from == self.config.index);
                self.on_group_offer(session, tag, (message, body), options, now, fx);
            }
            Peer::GroupDone {
                filter,
                sequence,
                end,
            } => {
                self.on_group_done(from, &filter, sequence, end, now, fx);
            }
            Peer::GroupLetGo { session } => self.on_group_let_go(from, session, fx),
            Peer::GroupCredit {
                group,
                session,
                count,
            } => {
                self.on_group_credit(from, group, session, count, now, fx);
            }
            Peer::Packed(_)
            | Peer::Publish { .. }
            | Peer::RelayRequest { .. }
            | Peer::Stored { .. }
            | Peer::Settled { .. }
            | Peer::Restored { .. }
            | Peer::RelayMark { .. }
            | Peer::Relayed { .. }
            | Peer::RetainedRequest { .. }
            | Peer::RetainedChunk { .. } => debug_assert!(false, "handled by on_peer"),
        }
    }
}
