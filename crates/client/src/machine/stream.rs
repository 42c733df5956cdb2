//! Streams: the buffers between the connection and the application, and messages that wait for one.

use std::collections::VecDeque;

use martlet_codec::{QoS, ReasonCode};

use super::{AckId, OpId};
use crate::message::Message;
use crate::options::Overflow;
use crate::topic::Filter;

/// Names a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId {
    index: u32,
    generation: u32,
}

impl StreamId {
    /// Where the caller may keep what it knows about the stream: small numbers, used again.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What the server granted for one filter.
pub type Granted = Result<QoS, ReasonCode>;

/// How a stream treats its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// How many messages it holds; see [`Overflow`].
    pub capacity: usize,
    /// What happens beyond.
    pub overflow: Overflow,
    /// Whether the application acknowledges.
    pub manual: bool,
    /// Whether it takes what no other stream wants.
    pub rest: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            capacity: 256,
            overflow: Overflow::Backpressure,
            manual: false,
            rest: false,
        }
    }
}

/// One stream and how far its subscription has come.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) options: StreamOptions,
    pub(crate) filters: Vec<Filter>,
    pub(crate) subscription_id: u32,
    pub(crate) wire: Wire,
    /// Who waits for the first SUBACK.
    pub(crate) op: Option<OpId>,
    pub(crate) granted: Vec<Granted>,
    buffer: VecDeque<Item>,
    /// How many items of the buffer are at QoS 0.
    plain_count: usize,
    lagged: u64,
    ended: bool,
}

/// Where a stream's SUBSCRIBE stands on the current connection, or in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// To be sent.
    Wanted,
    /// Sent; SUBACK has not come.
    Sent,
    /// The server has answered.
    Done,
}

/// A message in a buffer.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) message: Message,
    pub(crate) ack: Option<AckId>,
}

impl Item {
    fn is_plain(&self) -> bool {
        self.ack.is_none()
    }
}

/// What a push did.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// The message is in the buffer.
    pub(crate) taken: bool,
    /// The buffer was empty before.
    pub(crate) first: bool,
    /// What had to go, or did not get in.
    pub(crate) dropped: Option<Item>,
}

impl Stream {
    fn new(options: StreamOptions, filters: Vec<Filter>, op: Option<OpId>) -> Self {
        Self {
            options: StreamOptions {
                capacity: options.capacity.max(1),
                ..options
            },
            filters,
            subscription_id: 0,
            wire: Wire::Wanted,
            op,
            granted: Vec::new(),
            buffer: VecDeque::new(),
            plain_count: 0,
            lagged: 0,
            ended: false,
        }
    }

    fn push(&mut self, item: Item) -> Pushed {
        let first = self.buffer.is_empty();
        let full = self.buffer.len() >= self.options.capacity;
        let dropped = match self.options.overflow {
            Overflow::Backpressure
                if item.is_plain() && self.plain_count >= self.options.capacity =>
            {
                self.remove_first(Item::is_plain)
            }
            Overflow::DropOldest if full => self.pop(),
            Overflow::DropNewest if full => {
                self.lagged += 1;
                return Pushed {
                    taken: false,
                    first: false,
                    dropped: Some(item),
                };
            }
            Overflow::LatestPerTopic => {
                let topic = item.message.topic.clone();
                let replaced = self.remove_first(|other| other.message.topic == topic);
                replaced.or_else(|| if full { self.pop() } else { None })
            }
            Overflow::Backpressure | Overflow::DropOldest | Overflow::DropNewest => None,
        };
        self.lagged += u64::from(dropped.is_some());
        self.plain_count += usize::from(item.is_plain());
        self.buffer.push_back(item);
        Pushed {
            taken: true,
            first,
            dropped,
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.buffer.pop_front()?;
        self.plain_count -= usize::from(item.is_plain());
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = VecDeque::new();
        }
        Some(item)
    }

    fn remove_first(&mut self, wanted: impl Fn(&Item) -> bool) -> Option<Item> {
        let at = self.buffer.iter().position(wanted)?;
        let item = self.buffer.remove(at)?;
        self.plain_count -= usize::from(item.is_plain());
        Some(item)
    }
}

/// All streams, and the messages that wait for one to come.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<(u32, Option<Stream>)>,
    free: Vec<u32>,
    /// Messages that no stream wants yet, oldest first.
    held: VecDeque<Item>,
    /// Payload bytes in all buffers and in `held`.
    bytes: usize,
}

impl Streams {
    pub(crate) fn add(
        &mut self,
        options: StreamOptions,
        filters: Vec<Filter>,
        op: Option<OpId>,
    ) -> StreamId {
        let stream = Stream::new(options, filters, op);
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.1 = Some(stream);
            return StreamId {
                index,
                generation: slot.0,
            };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, Some(stream)));
        StreamId {
            index,
            generation: 0,
        }
    }

    /// Takes a stream out, with what it still holds.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<(Stream, Vec<Item>)> {
        self.get(id)?;
        let slot = self.slots.get_mut(id.index())?;
        let mut stream = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.index);
        let items: Vec<Item> = std::mem::take(&mut stream.buffer).into();
        for item in &items {
            self.bytes -= weight(item);
        }
        Some((stream, items))
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        let (generation, stream) = self.slots.get(id.index())?;
        stream.as_ref().filter(|_| *generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let (generation, stream) = self.slots.get_mut(id.index())?;
        stream.as_mut().filter(|_| *generation == id.generation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        (0u32..).zip(&self.slots).filter_map(|(index, slot)| {
            let id = StreamId {
                index,
                generation: slot.0,
            };
            Some((id, slot.1.as_ref()?))
        })
    }

    pub(crate) fn ids(&self) -> Vec<StreamId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub(crate) fn push(&mut self, id: StreamId, item: Item) -> Option<Pushed> {
        let added = weight(&item);
        let pushed = self.get_mut(id)?.push(item);
        self.bytes += added;
        if let Some(dropped) = &pushed.dropped {
            self.bytes -= weight(dropped);
        }
        Some(pushed)
    }

    pub(crate) fn pop(&mut self, id: StreamId) -> Option<Item> {
        let item = self.get_mut(id)?.pop()?;
        self.bytes -= weight(&item);
        Some(item)
    }

    pub(crate) fn lagged(&self, id: StreamId) -> u64 {
        self.get(id).map_or(0, |stream| stream.lagged)
    }

    /// Whether nothing more will come behind what is buffered.
    pub(crate) fn has_ended(&self, id: StreamId) -> bool {
        self.get(id).is_none_or(|stream| stream.ended)
    }

    pub(crate) fn is_empty(&self, id: StreamId) -> bool {
        self.get(id).is_none_or(|stream| stream.buffer.is_empty())
    }

    pub(crate) fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.get_mut(id) {
            stream.ended = true;
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn hold(&mut self, item: Item) {
        self.bytes += weight(&item);
        self.held.push_back(item);
    }

    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Takes out the held messages that somebody wants now.
    pub(crate) fn take_held(&mut self, wanted: impl Fn(&Message) -> bool) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for item in self.held.drain(..) {
            if wanted(&item.message) {
                self.bytes -= weight(&item);
                taken.push(item);
            } else {
                kept.push_back(item);
            }
        }
        self.held = kept;
        taken
    }
}

fn weight(item: &Item) -> usize {
    item.message.cost()
}

/// Slots that an empty buffer may keep.
const KEPT_CAPACITY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fingerprint::Fingerprint;
    use crate::machine::unacked::Unacked;
    use martlet_codec::PacketId;

    fn stream(overflow: Overflow) -> (Streams, StreamId) {
        let mut streams = Streams::default();
        let options = StreamOptions {
            capacity: 2,
            overflow,
            ..StreamOptions::default()
        };
        let id = streams.add(options, Vec::new(), None);
        (streams, id)
    }

    fn push(streams: &mut Streams, id: StreamId, topic: &str, value: &str, qos: u8) {
        let ack = (qos > 0).then(|| {
            let mut unacked = Unacked::default();
            unacked.push(PacketId::MIN, false, Fingerprint::default())
        });
        let message = Message::new(topic, value).qos(qos);
        streams.push(id, Item { message, ack });
    }

    fn rest(streams: &mut Streams, id: StreamId) -> String {
        let mut all = String::new();
        while let Some(item) = streams.pop(id) {
            all.push_str(&item.message.text());
        }
        assert_eq!(streams.bytes(), 0);
        all
    }

    #[test]
    fn backpressure_keeps_all_but_the_oldest_of_qos_0() {
        let (mut streams, id) = stream(Overflow::Backpressure);
        for (value, qos) in [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 0), ("f", 2)] {
            push(&mut streams, id, "t", value, qos);
        }
        assert_eq!(streams.lagged(id), 1);
        assert_eq!(rest(&mut streams, id), "bcdef");
    }

    #[test]
    fn the_other_policies_keep_to_the_capacity_at_any_qos() {
        for (overflow, left) in [
            (Overflow::DropOldest, "bc"),
            (Overflow::DropNewest, "ab"),
            (Overflow::LatestPerTopic, "bc"),
        ] {
            let (mut streams, id) = stream(overflow);
            for value in ["a", "b", "c"] {
                push(&mut streams, id, value, value, 1);
            }
            assert_eq!(streams.lagged(id), 1);
            assert_eq!(rest(&mut streams, id), left, "{overflow:?}");
        }
    }

    #[test]
    fn the_latest_of_a_topic_takes_the_place_of_the_one_before() {
        let (mut streams, id) = stream(Overflow::LatestPerTopic);
        push(&mut streams, id, "t", "1", 0);
        push(&mut streams, id, "u", "2", 1);
        push(&mut streams, id, "t", "3", 0);
        assert_eq!(rest(&mut streams, id), "23");
    }

    #[test]
    fn an_old_name_does_not_find_a_new_stream() {
        let (mut streams, old) = stream(Overflow::Backpressure);
        push(&mut streams, old, "t", "1", 0);
        assert_eq!(streams.remove(old).unwrap().1.len(), 1);
        let new = streams.add(StreamOptions::default(), Vec::new(), None);
        assert_eq!(new.index(), old.index());
        assert!(streams.get(old).is_none() && streams.get(new).is_some());
        assert_eq!(streams.bytes(), 0);
    }
}
