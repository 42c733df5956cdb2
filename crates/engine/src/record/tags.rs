//! The numbers on disk. Never changed, only added to.

pub(super) const TAG_SLOT_BEGIN: u8 = 1;
pub(super) const TAG_SLOT_END: u8 = 2;
pub(super) const TAG_BODY: u8 = 3;
pub(super) const TAG_SESSION: u8 = 4;
pub(super) const TAG_OFFLINE: u8 = 5;
pub(super) const TAG_SESSION_ENDED: u8 = 6;
pub(super) const TAG_WILL: u8 = 7;
pub(super) const TAG_WILL_CLEARED: u8 = 8;
pub(super) const TAG_SUBSCRIBED: u8 = 9;
pub(super) const TAG_UNSUBSCRIBED: u8 = 10;
pub(super) const TAG_REPLAYED: u8 = 11;
pub(super) const TAG_QUEUED: u8 = 12;
pub(super) const TAG_SENT: u8 = 13;
pub(super) const TAG_DROPPED: u8 = 14;
pub(super) const TAG_RELEASED: u8 = 15;
pub(super) const TAG_FINISHED: u8 = 16;
pub(super) const TAG_RECEIVED: u8 = 17;
pub(super) const TAG_COMPLETED: u8 = 18;
pub(super) const TAG_RETAINED: u8 = 19;
pub(super) const TAG_RETAINED_CLEARED: u8 = 20;
pub(super) const TAG_GROUP_QUEUED: u8 = 21;
pub(super) const TAG_GROUP_DONE: u8 = 22;
pub(super) const TAG_TAKEN: u8 = 23;
pub(super) const TAG_WILL_UNDER_WAY: u8 = 24;
pub(super) const TAG_WILL_DONE: u8 = 25;
// Since format 2.
pub(super) const TAG_QUEUED_RUN: u8 = 26;
pub(super) const TAG_FINISHED_RUN: u8 = 27;
// Since format 3.
pub(super) const TAG_RELEASED_RUN: u8 = 28;
pub(super) const TAG_ENDED_RUN: u8 = 29;
pub(super) const TAG_RECEIVED_RUN: u8 = 30;
pub(super) const TAG_COMPLETED_RUN: u8 = 31;

pub(super) const FLAG_RETAIN: u8 = 0b0000_0100;
pub(super) const FLAG_NO_LOCAL: u8 = 0b0000_1000;
pub(super) const FLAG_REPLAYING: u8 = 0b0001_0000;
pub(super) const FLAG_IDS: u8 = 0b0000_1000;
pub(super) const FLAG_GROUP: u8 = 0b0001_0000;
