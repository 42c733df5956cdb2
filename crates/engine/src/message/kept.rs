//! What a queue or a window keeps: a message, or one of several that lie in one piece of memory.
//!
//! ```text
//! | count | Head | PUBLISH | PUBLISH | PUBLISH |        a piece: packets of one run, one behind the other
//!                  ^start    ^end                       its second message
//! ```
//! The messages of a run (`packets/repeats.rs`) are kept together: one allocation, one copy in, and if they leave together, one
//! copy out; several are one entry of a queue or a window (`sending/delivery/several.rs`). Each counts for itself in every limit, as if it lay
//! alone. The memory goes back when the last of them is done, which is soon: they wait in one line. One that is never acknowledged holds the
//! others' memory, but no more than [`PIECE_BYTES_MAX`].

use martlet_codec::{QoS, packet_len};

use crate::message::{Form, Message, MessageParts, topic_at};
use crate::packets::repeats::{Repeat, Run};
use crate::sending::delivery::SEVERAL_MAX;
use crate::sending::express::Template;
use crate::time::Time;

/// A message that is kept. Cloning counts a reference.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The message, or the piece: several packets that differ in nothing but payload and identifier.
    memory: Message,
    start: u32,
    end: u32,
}

impl Kept {
    /// A message that lies alone.
    #[inline]
    pub(crate) fn of(message: Message) -> Self {
        let end = length(message.packet().len());
        Self {
            memory: message,
            start: 0,
            end,
        }
    }

    /// The message, if it lies alone.
    #[inline]
    pub(crate) fn whole(&self) -> Option<&Message> {
        self.is_whole().then_some(&self.memory)
    }

    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        (self.end - self.start) as usize == self.memory.packet().len()
    }

    /// The message alone: itself, or a copy.
    pub(crate) fn to_message(&self) -> Message {
        match self.whole() {
            Some(message) => message.clone(),
            None => Message::of_packet(&self.parts(), self.memory.form(), self.packet()),
        }
    }

    /// As [`Kept::to_message`], in place.
    pub(crate) fn make_whole(&mut self) -> &Message {
        if !self.is_whole() {
            *self = Self::of(self.to_message());
        }
        &self.memory
    }

    /// The packet; flags and identifier may be anything.
    #[inline]
    pub(crate) fn packet(&self) -> &[u8] {
        let all = self.memory.packet();
        all.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    #[inline]
    pub(crate) fn parts(&self) -> MessageParts<'_> {
        debug_assert_eq!(packet_len(self.packet()), Some(self.packet().len()));
        self.memory.parts_of(self.packet())
    }

    #[inline]
    pub(crate) fn template(&self) -> Template<'_> {
        if let Some(message) = self.whole() {
            return Template::of_message(message);
        }
        // Nothing in a run is large, or has its time limited.
        Template::of_packed(self.memory.form(), self.packet())
    }

    /// What it counts for: as much as if it lay alone.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size_of(1)
    }

    /// The same of so many.
    #[inline]
    pub(crate) const fn size_of(&self, count: usize) -> usize {
        (self.end - self.start) as usize + count * Message::OVERHEAD
    }

    /// Takes out the first ones of several, which stay where they lie.
    pub(crate) fn split(&mut self, count: usize) -> Self {
        let len = packets_len(self.packet(), count);
        let end = self.start + length(len);
        let first = Self {
            end,
            ..self.clone()
        };
        self.start = end;
        first
    }

    pub(crate) fn qos(&self) -> QoS {
        self.memory.qos()
    }

    pub(crate) fn form(&self) -> Form {
        self.memory.form()
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.memory.is_expired(now)
    }

    /// Whether both lie in the same memory: then they differ in payload and identifier only.
    #[inline]
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.memory.is_same(&other.memory)
    }

    /// Whether the other one lies directly behind this one.
    #[inline]
    pub(crate) fn is_in_front_of(&self, other: &Self) -> bool {
        self.end == other.start && self.is_beside(other)
    }

    /// The packets of the first ones of several, `most` at most, and none behind so many bytes; and how many they are.
    pub(crate) fn first_packets(&self, most: usize, bytes_max: usize) -> (usize, &[u8]) {
        let all = self.packet();
        let (mut count, mut len) = (0, 0);
        while count < most && len < bytes_max {
            let Some(next) = all.get(len..).and_then(packet_len) else {
                break;
            };
            (count, len) = (count + 1, len + next);
        }
        (count, all.get(..len).unwrap_or_default())
    }

    /// All that lie in its memory as a run.
    pub(crate) fn run(&self) -> Run<'_> {
        let bytes = self.memory.packet();
        let parts = self.memory.parts_of(bytes);
        Run {
            topic: parts.topic,
            qos: parts.qos,
            form: self.memory.form(),
            origin: parts.origin,
            is_for_one: true,
            bytes,
        }
    }

    /// Its place in [`Kept::run`].
    pub(crate) fn repeat(&self) -> Repeat {
        let payload_len = length(self.parts().payload.len());
        Repeat::of_packed(self.start as usize, self.end as usize, payload_len)
    }

    /// How far behind its first byte the packet identifier stands, if it has one.
    pub(crate) fn id_at(&self) -> usize {
        topic_at(self.packet()) + self.memory.topic_bytes().len()
    }
}

impl Run<'_> {
    /// Keeps messages of the run that are not kept yet, those that stand one behind the other in as few pieces as may be.
    #[inline(never)]
    pub(crate) fn keep(self, list: &mut [Repeat]) {
        let mut rest = list;
        while let Some(first) = rest.first() {
            let count = match first.message {
                Some(_) => 1,
                None => Self::fitting(rest, usize::MAX),
            };
            let Some((together, behind)) = rest.split_at_mut_checked(count) else {
                return;
            };
            rest = behind;
            self.keep_together(together);
        }
    }

    /// The first messages as one to keep, and how many they are: so many as lie in one piece, or may.
    pub(crate) fn keep_first(self, list: &[Repeat]) -> Option<(Kept, usize)> {
        let first = list.first()?;
        if let Some(kept) = &first.message {
            let mut several = kept.clone();
            let mut count = 1;
            for next in list.iter().take(SEVERAL_MAX).skip(1) {
                let behind = next.message.as_ref();
                let Some(behind) = behind.filter(|next| several.is_in_front_of(next)) else {
                    break;
                };
                several.end = behind.end;
                count += 1;
            }
            return Some((several, count));
        }
        let count = Self::fitting(list, SEVERAL_MAX);
        let newest = list.get(count - 1)?;
        let bytes = self.bytes.get(first.start..newest.end).unwrap_or_default();
        let memory = Message::of_packets(&self.parts(first), self.form, first.head_len(), bytes);
        Some((Kept::of(memory), count))
    }

    /// How many of the first messages, none of which is kept yet, fit into one piece: one at least.
    fn fitting(list: &[Repeat], most: usize) -> usize {
        let list = list.get(..list.len().min(most)).unwrap_or_default();
        let Some(first) = list.first() else { return 0 };
        let (start, head_len) = (first.start, first.head_len());
        let fits = |(before, next): &(&Repeat, &Repeat)| {
            next.message.is_none()
                && next.start == before.end
                && next.head_len() == head_len
                && next.end - start <= PIECE_BYTES_MAX
        };
        let behind = list.get(1..).unwrap_or_default();
        1 + list.iter().zip(behind).take_while(fits).count()
    }

    fn keep_together(self, list: &mut [Repeat]) {
        let [first, .., newest] = list else {
            for repeat in list {
                if repeat.message.is_none() {
                    repeat.message = Some(Kept::of(self.message(repeat)));
                }
            }
            return;
        };
        let base = first.start;
        let bytes = self.bytes.get(base..newest.end).unwrap_or_default();
        let memory = Message::of_packets(&self.parts(first), self.form, first.head_len(), bytes);
        for repeat in list {
            repeat.message = Some(Kept {
                memory: memory.clone(),
                start: length(repeat.start - base),
                end: length(repeat.end - base),
            });
        }
    }
}

/// How many bytes the first packets take.
fn packets_len(packets: &[u8], count: usize) -> usize {
    (0..count).fold(0, |len, _| {
        let next = packets.get(len..).and_then(packet_len);
        len + next.unwrap_or_default()
    })
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The most that one message may hold of others' memory. A dozen small ones share what one allocation costs; a client that leaves
/// one message unacknowledged in each piece holds so much for each in flight.
const PIECE_BYTES_MAX: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use martlet_codec::{Packet, PacketId, Publish, TopicName, Version};

    use super::*;
    use crate::message::{Origin, Topic};

    /// Packets with payloads of these lengths, and where they stand.
    fn packets(lens: &[usize]) -> (Vec<u8>, Vec<Repeat>) {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        for (len, fill) in lens.iter().zip(b'a'..) {
            let start = bytes.len();
            let publish = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: Some(TopicName::new("a/b").unwrap()),
                packet_id: PacketId::new(7),
                properties: martlet_codec::Properties::EMPTY,
                payload: &alloc::vec![fill; *len],
            });
            publish.encode(Version::V5, &mut bytes).unwrap();
            list.push(Repeat::of_packed(start, bytes.len(), length(*len)));
        }
        (bytes, list)
    }

    fn run(bytes: &[u8]) -> Run<'_> {
        Run {
            topic: Topic::Text("a/b"),
            qos: QoS::AtLeastOnce,
            form: Form {
                v5: true,
                has_id: true,
            },
            origin: Origin::NONE,
            is_for_one: false,
            bytes,
        }
    }

    /// How many of a run lie together, piece by piece.
    fn pieces(list: &[Repeat]) -> Vec<usize> {
        let kept: Vec<&Kept> = list.iter().map(|r| r.message.as_ref().unwrap()).collect();
        kept.chunk_by(|a, b| a.is_beside(b))
            .map(<[_]>::len)
            .collect()
    }

    #[test]
    fn messages_of_a_run_are_kept_as_if_each_lay_alone() {
        // The length of a packet takes two bytes from 128 on, and a piece has an end.
        let lens = [3, 0, 5, 120, 121, 500, 500, 500, 500, 500, 1];
        let (bytes, mut list) = packets(&lens);
        let run = run(&bytes);
        run.keep(&mut list);
        assert_eq!(pieces(&list), [3, 5, 2, 1]);
        for repeat in &list {
            let kept = repeat.message.as_ref().unwrap();
            let alone = run.message(repeat);
            assert_eq!(kept.packet(), alone.packet());
            assert_eq!(kept.size(), alone.size());
            assert_eq!(kept.qos(), alone.qos());
            let (parts, expected) = (kept.parts(), alone.parts());
            assert_eq!(parts.payload, expected.payload);
            assert_eq!(parts.topic.as_bytes(), b"a/b");
            assert_eq!(parts.shared_properties, b"");
            assert_eq!(parts.origin, expected.origin);
            assert_eq!(kept.packet()[kept.id_at()..][..2], [0, 7]);
            assert_eq!(kept.to_message().packet(), alone.packet());
            let again = kept.run();
            let place = kept.repeat();
            assert_eq!(again.packet(&place), alone.packet());
            assert_eq!(place.payload_len, repeat.payload_len);
            let mut own = kept.clone();
            assert_eq!(own.make_whole().payload(), expected.payload);
            assert!(own.is_whole());
        }
    }

    #[test]
    fn what_is_kept_already_stays_where_it_is() {
        let (bytes, mut list) = packets(&[1, 1, 1, 1, 1]);
        let run = run(&bytes);
        run.keep(&mut list[1..3]);
        run.keep(&mut list);
        assert_eq!(pieces(&list), [1, 2, 2]);
        let [first, second, third, ..] = &list[..] else {
            return;
        };
        let of = |repeat: &Repeat| repeat.message.clone().unwrap();
        assert!(of(second).is_in_front_of(&of(third)));
        assert!(!of(first).is_in_front_of(&of(second)));
        assert!(!of(third).is_in_front_of(&of(second)));
        let (several, count) = run.keep_first(&list[1..]).unwrap();
        assert_eq!(count, 2, "as far as they lie together");
        assert!(several.is_beside(&of(second)));
        assert_eq!(several.packet(), &bytes[list[1].start..list[2].end]);
    }

    /// Several are one, and can be parted anywhere.
    #[test]
    fn several_are_parted_into_what_they_were() {
        let lens = [3, 0, 5, 120, 121, 500, 500, 500, 500, 500, 1];
        let (bytes, list) = packets(&lens);
        let run = run(&bytes);
        let (mut at, mut pieces) = (0, Vec::new());
        while let Some((several, count)) = run.keep_first(&list[at..]) {
            let these = &list[at..at + count];
            let sizes = these.iter().map(|repeat| run.message(repeat).size());
            assert_eq!(several.size_of(count), sizes.sum::<usize>());
            for first in 0..=count {
                let mut rest = several.clone();
                let taken = rest.split(first);
                let middle = these.get(first).map_or(these[count - 1].end, |r| r.start);
                assert_eq!(taken.packet(), &bytes[these[0].start..middle]);
                assert_eq!(rest.packet(), &bytes[middle..these[count - 1].end]);
                assert!(taken.is_beside(&rest));
                let shown = several.first_packets(first, usize::MAX);
                assert_eq!(shown, (first, taken.packet()));
            }
            assert_eq!(several.first_packets(count, 0).0, 0);
            assert_eq!(several.first_packets(count, 1).0, 1);
            pieces.push(count);
            at += count;
        }
        assert_eq!(pieces, [3, 5, 2, 1]);
        let (_, list) = packets(&[1; 40]);
        let (bytes, _) = packets(&[1; 40]);
        let run = Run {
            bytes: &bytes,
            ..run
        };
        assert_eq!(run.keep_first(&list).unwrap().1, SEVERAL_MAX);
    }
}
