//! Tests of the outbound window.

use super::*;
use alloc::vec;

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn resends(outbound: &mut Outbound<&'static str>) -> Vec<(u16, Option<&'static str>)> {
    let mut seen = Vec::new();
    loop {
        let waiting = outbound.unsent().count();
        let announced = outbound.peek_resend().copied();
        let Some(resend) = outbound.next_resend() else {
            assert_eq!(announced, None);
            return seen;
        };
        let given = match resend {
            Resend::Publish(_, _, message) => Some(*message),
            Resend::PubRel(_) => None,
        };
        assert_eq!(announced, given);
        assert!(given.is_none() || waiting > 0);
        seen.push(match resend {
            Resend::Publish(id, _, message) => (id.get(), Some(*message)),
            Resend::PubRel(id) => (id.get(), None),
        });
    }
}

//= mqtt5 4.9.0-2 test
#[test]
fn the_window_closes_at_the_receive_maximum_and_opens_with_each_final_ack() {
    let mut outbound = Outbound::default();
    outbound.start_connection(2);
    assert_eq!(outbound.send(false, "a"), Some(id(1)));
    assert_eq!(outbound.send(true, "b"), Some(id(2)));
    assert_eq!(outbound.send(false, "c"), None);
    assert_eq!(outbound.on_pubrec(id(2), false), PubRec::Release(Some("b")));
    assert!(!outbound.can_send(), "PUBREC below 0x80 frees nothing");
    assert!(outbound.on_pubcomp(id(2)));
    assert_eq!(outbound.send(false, "c"), Some(id(3)));
    assert_eq!(outbound.on_puback(id(1)), Some("a"));
    assert_eq!(outbound.send(true, "d"), Some(id(4)));
    assert_eq!(outbound.on_pubrec(id(4), true), PubRec::Refused("d"));
    assert!(outbound.can_send());
}

#[test]
fn there_is_room_for_as_many_as_can_be_sent() {
    let mut outbound = Outbound::default();
    outbound.start_connection(5);
    let mut open = alloc::collections::VecDeque::new();
    for step in 0..40 {
        let mut sent = 0;
        let room = outbound.room();
        while sent < room.min(step % 4) {
            open.extend(outbound.send(sent % 2 == 0, "m"));
            sent += 1;
        }
        assert_eq!(outbound.room(), room - sent);
        assert_eq!(outbound.room() > 0, outbound.can_send());
        if step % 3 == 0
            && let Some(id) = open.pop_front()
        {
            let exactly_once = outbound.on_puback(id).is_none();
            assert_eq!(
                exactly_once,
                outbound.on_pubrec(id, true) == PubRec::Refused("m")
            );
        }
    }
    outbound.start_connection(5);
    assert!(!open.is_empty());
    assert_eq!(outbound.room(), 0, "those before go first");
    while outbound.next_resend().is_some() {}
    assert_eq!(outbound.room(), 5 - open.len());
}

//= mqtt5 4.4.0-1 test
//= mqtt311 4.4.0-1 test
#[test]
fn a_reconnect_resends_in_the_original_order_under_the_old_ids() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    for (exactly_once, message) in [(false, "a"), (true, "b"), (false, "c"), (true, "d")] {
        outbound.send(exactly_once, message).unwrap();
    }
    outbound.on_puback(id(1)).unwrap();
    assert_eq!(outbound.on_pubrec(id(2), false), PubRec::Release(Some("b")));
    outbound.start_connection(10);
    assert!(
        !outbound.can_send(),
        "new messages wait behind the re-sends"
    );
    assert_eq!(
        resends(&mut outbound),
        vec![(2, None), (3, Some("c")), (4, Some("d"))]
    );
    assert!(outbound.can_send());
    assert_eq!(outbound.send(false, "e"), Some(id(5)));
}

#[test]
fn resends_respect_a_smaller_receive_maximum_but_pubrel_never_waits() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    for message in ["a", "b", "c"] {
        outbound.send(false, message).unwrap();
    }
    outbound.start_connection(1);
    assert_eq!(resends(&mut outbound), vec![(1, Some("a"))]);
    outbound.on_puback(id(1)).unwrap();
    assert_eq!(resends(&mut outbound), vec![(2, Some("b"))]);
    // An acknowledgement of a message from the connection before is taken as well.
    assert_eq!(outbound.on_puback(id(3)), Some("c"));
    outbound.on_puback(id(2)).unwrap();
    assert_eq!(outbound.open_count(), 0);
    assert!(outbound.can_send());
}

#[test]
fn a_pubrec_for_a_message_not_yet_resent_counts_as_its_resend() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    outbound.send(true, "a").unwrap();
    outbound.start_connection(10);
    assert_eq!(outbound.on_pubrec(id(1), false), PubRec::Release(Some("a")));
    assert_eq!(resends(&mut outbound), vec![]);
    assert_eq!(outbound.on_pubrec(id(1), false), PubRec::Release(None));
    assert!(outbound.on_pubcomp(id(1)));
    assert!(!outbound.on_pubcomp(id(1)));
}

/// Optimisation: with gaps, what is in use is looked through once for a thousand messages, and once for those that have to be left out.
#[test]
fn free_identifiers_are_looked_for_once_in_a_while() {
    let mut outbound = Outbound::default();
    outbound.start_connection(u16::MAX);
    for _ in 0..300 {
        outbound.send(false, "stuck").unwrap();
    }
    for _ in 0..2 {
        for _ in 0..65_235 {
            let next = outbound.next_id();
            let id = outbound.send(false, "x").unwrap();
            assert_eq!(Some(id), next);
            assert!(id.get() > 300, "{id:?} is still in use");
            outbound.on_puback(id).unwrap();
        }
    }
    let searches = outbound.window.as_ref().unwrap().searches;
    assert!((120..=140).contains(&searches), "{searches}");
}

/// What was known to be free is not known any more when identifiers go on from elsewhere.
//= mqtt5 2.2.1-4 test
#[test]
fn identifiers_that_go_on_from_elsewhere_leave_out_those_in_use() {
    let mut outbound = Outbound::default();
    outbound.start_connection(100);
    assert_eq!(outbound.send_together(4, "run"), Some(id(1)));
    for (behind, free) in [(100, 101), (0, 5), (2, 6), (100, 102)] {
        outbound.continue_behind(behind);
        assert_eq!(outbound.next_id(), Some(id(free)));
        assert_eq!(outbound.send(false, "m"), Some(id(free)), "behind {behind}");
    }
    let mut outbound = Outbound::default();
    outbound.start_connection(100);
    outbound.send(false, "m").unwrap();
    outbound.continue_behind(100);
    assert_eq!(outbound.send(false, "m"), Some(id(101)));
    for restored in [110, 105] {
        outbound.restore(id(restored), Stage::AwaitPubAck, Some("restored"));
    }
    outbound.start_connection(100);
    assert_eq!(resends(&mut outbound).len(), 4);
    for free in [106, 107, 108, 109, 111] {
        assert_eq!(outbound.send(false, "m"), Some(id(free)));
    }
}

//= mqtt5 2.2.1-4 test
//= mqtt311 2.3.1-4 test
#[test]
fn identifiers_wrap_around_those_in_use() {
    let mut outbound = Outbound::default();
    outbound.start_connection(100);
    assert_eq!(outbound.send(false, "stuck"), Some(id(1)));
    for n in 2..=u16::MAX {
        assert_eq!(outbound.send(false, "x"), Some(id(n)));
        assert_eq!(outbound.on_puback(id(n)), Some("x"));
    }
    assert_eq!(outbound.send(false, "y"), Some(id(2)), "1 is still in use");
    assert_eq!(outbound.on_puback(id(2)), Some("y"));
    assert_eq!(outbound.on_puback(id(1)), Some("stuck"));
    assert_eq!(outbound.open_count(), 0);
}

#[test]
fn a_stuck_message_does_not_keep_finished_ones() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    outbound.send(false, "stuck").unwrap();
    for _ in 0..10_000 {
        let id = outbound.send(false, "x").unwrap();
        outbound.on_puback(id).unwrap();
    }
    let kept = outbound.window.as_ref().unwrap().entries.len();
    assert!(kept < 100, "{kept}");
}

#[test]
fn unacknowledged_messages_can_be_taken_out() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    outbound.send(false, "group 1").unwrap();
    outbound.send(false, "own").unwrap();
    outbound.send(true, "group 2").unwrap();
    assert_eq!(
        outbound.extract_unacknowledged(|m| m.starts_with("group")),
        vec!["group 1"]
    );
    assert_eq!(outbound.on_puback(id(1)), None);
    outbound.start_connection(10);
    assert_eq!(
        resends(&mut outbound),
        vec![(2, Some("own")), (3, Some("group 2"))]
    );
}

#[test]
fn acks_of_the_wrong_kind_are_unknown() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    outbound.send(false, "a").unwrap();
    outbound.send(true, "b").unwrap();
    assert_eq!(outbound.on_pubrec(id(1), false), PubRec::Unknown);
    assert_eq!(outbound.on_puback(id(2)), None);
    assert!(!outbound.on_pubcomp(id(2)));
    assert_eq!(outbound.on_puback(id(9)), None);
    assert_eq!(outbound.open_count(), 2);
    assert!(!outbound.on_pubcomp(id(1)), "the first one, at QoS 1");
    assert_eq!(outbound.on_puback(id(1)), Some("a"));
    assert_eq!(outbound.on_puback(id(2)), None, "now the first one");
    assert!(!outbound.on_pubcomp(id(2)), "before PUBREC");
    assert_eq!(outbound.on_pubrec(id(2), false), PubRec::Release(Some("b")));
    assert_eq!(outbound.on_puback(id(2)), None, "behind PUBREC");
    assert!(outbound.on_pubcomp(id(2)));
    assert!(!outbound.on_pubcomp(id(2)));
    assert_eq!(outbound.open_count(), 0);
}

#[test]
fn a_window_at_rest_is_two_words_and_owns_nothing() {
    assert_eq!(size_of::<Outbound<[u64; 9]>>(), 16);
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    assert!(outbound.window.is_none());
    outbound.send(false, "a").unwrap();
    outbound.release_memory();
    assert_eq!(outbound.messages().count(), 1, "it is not at rest");
    outbound.on_puback(id(1)).unwrap();
    assert!(outbound.window.is_some(), "kept for the next message");
    outbound.release_memory();
    assert!(outbound.window.is_none());
    assert_eq!(
        outbound.send(false, "b"),
        Some(id(2)),
        "1 is not used again at once"
    );
}

#[test]
fn one_message_in_flight_has_room_for_one() {
    let mut outbound = Outbound::default();
    outbound.send(false, "a").unwrap();
    assert_eq!(outbound.window.as_ref().unwrap().entries.capacity(), 1);
}

#[test]
fn places_follow_from_identifiers_also_around_the_wrap() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    outbound.last_id = u16::MAX - 2;
    for n in [65_534, 65_535, 1, 2] {
        assert_eq!(outbound.send(false, n), Some(id(n)));
    }
    assert!(!outbound.window.as_ref().unwrap().has_gaps);
    for n in [1, 65_535, 2, 65_534] {
        assert_eq!(outbound.on_puback(id(n)), Some(n));
    }
}

proptest::proptest! {
    /// Against a plain list of what is open.
    #[test]
    fn behaves_like_a_list(steps in proptest::collection::vec((0_u8..8, 0_usize..12), 1..300), first in 0_u16..=u16::MAX) {
        let mut outbound = Outbound::default();
        outbound.start_connection(12);
        outbound.last_id = first;
        let mut model: Vec<(PacketId, usize)> = Vec::new();
        for (step, (kind, pick)) in steps.into_iter().enumerate() {
            if kind < 4 {
                let sent = outbound.send(false, step);
                proptest::prop_assert_eq!(sent.is_some(), model.len() < 12);
                if let Some(id) = sent {
                    proptest::prop_assert!(model.iter().all(|(open, _)| *open != id));
                    model.push((id, step));
                }
            } else if kind < 7 && !model.is_empty() {
                let (id, message) = model.remove(pick % model.len());
                proptest::prop_assert_eq!(outbound.on_puback(id), Some(message));
                proptest::prop_assert_eq!(outbound.on_puback(id), None);
            } else if kind == 7 && pick == 0 {
                outbound.start_connection(12);
                let mut again = Vec::new();
                while let Some(Resend::Publish(id, _, message)) = outbound.next_resend() {
                    again.push((id, *message));
                }
                proptest::prop_assert_eq!(&again, &model);
            }
            proptest::prop_assert_eq!(outbound.open_count(), model.len());
        }
    }
}

//= mqtt5 2.2.1-3 test
//= mqtt311 2.3.1-2 test
#[test]
fn subscribe_and_publish_share_the_identifiers() {
    let mut outbound = Outbound::default();
    outbound.start_connection(2);
    assert_eq!(outbound.next_id(), Some(id(1)));
    assert_eq!(outbound.send(false, "a"), Some(id(1)));
    assert_eq!(outbound.reserve(), Some(id(2)));
    assert_eq!(outbound.next_id(), Some(id(3)));
    assert_eq!(
        outbound.send(false, "b"),
        Some(id(3)),
        "SUBSCRIBE uses no quota"
    );
    assert_eq!(
        outbound.on_puback(id(2)),
        None,
        "no message has that identifier"
    );
    assert!(!outbound.can_send());
    assert_eq!(outbound.next_id(), None);
    assert_eq!(outbound.open_count(), 2);
    assert!(outbound.release(id(2)));
    assert!(!outbound.release(id(2)));
    assert!(!outbound.release(id(1)), "that is a message");
    assert_eq!(outbound.on_puback(id(3)), Some("b"));
    assert_eq!(outbound.on_puback(id(1)), Some("a"));
    assert!(outbound.can_send());
}

#[test]
fn a_reserved_identifier_ends_with_its_connection() {
    let mut outbound = Outbound::default();
    outbound.start_connection(9);
    assert_eq!(outbound.reserve(), Some(id(1)));
    assert_eq!(outbound.send(false, "a"), Some(id(2)));
    outbound.start_connection(9);
    assert_eq!(resends(&mut outbound), [(2, Some("a"))]);
    assert!(!outbound.release(id(1)));
    outbound.last_id = u16::MAX;
    assert_eq!(outbound.reserve(), Some(id(1)));
    assert_eq!(outbound.reserve(), Some(id(3)), "2 is in flight");
    assert_eq!(outbound.open_count(), 1);
}

#[test]
fn a_lost_session_gives_everything_back_in_order() {
    let mut outbound = Outbound::default();
    outbound.start_connection(9);
    outbound.send(false, "a");
    outbound.send(true, "b");
    outbound.reserve();
    outbound.send(true, "c");
    outbound.on_pubrec(id(2), false);
    outbound.start_connection(9);
    let all = outbound.take_all();
    let expected = vec![
        (Stage::AwaitPubAck, Some("a")),
        (Stage::AwaitPubComp, None),
        (Stage::AwaitPubRec, Some("c")),
    ];
    assert_eq!(all, expected);
    assert_eq!((outbound.open_count(), outbound.has_resends()), (0, false));
    assert!(outbound.can_send());
}

#[test]
fn a_window_is_built_again_from_what_was_unfinished() {
    let mut outbound: Outbound<u32> = Outbound::default();
    outbound.start_connection(10);
    for n in 0..4 {
        outbound.send(n % 2 == 1, n).unwrap();
    }
    outbound.on_puback(id(1));
    outbound.on_pubrec(id(2), false);
    let unfinished: Vec<_> = outbound
        .unfinished()
        .map(|(id, stage, message)| (id, stage, message.copied()))
        .collect();
    let mut again = Outbound::default();
    for (id, stage, message) in unfinished.iter().copied() {
        again.restore(id, stage, message);
    }
    assert!(
        again
            .unfinished()
            .map(|(id, stage, m)| (id, stage, m.copied()))
            .eq(unfinished)
    );
    assert_eq!(again.forget(id(3)), Some(2));
    again.start_connection(1);
    assert_eq!(again.next_resend(), Some(Resend::PubRel(id(2))));
    assert_eq!(again.next_resend(), None, "the window is full");
    assert!(again.on_pubcomp(id(2)));
    assert_eq!(
        again.next_resend(),
        Some(Resend::Publish(id(4), Stage::AwaitPubRec, &3))
    );
    assert_eq!(again.on_pubrec(id(4), true), PubRec::Refused(3));
    assert_eq!(again.open_count(), 0);
    assert_eq!(again.send(false, 9), Some(id(5)));
}

#[test]
fn a_request_that_has_no_answer_keeps_its_identifier_all_the_way_round() {
    let mut outbound = Outbound::<()>::default();
    outbound.start_connection(9);
    let kept = outbound.reserve().unwrap();
    for _ in 0..70_000 {
        let other = outbound.reserve().unwrap();
        assert_ne!(other, kept);
        assert!(outbound.release(other));
    }
    assert!(outbound.release(kept));
}

#[test]
fn what_cannot_be_sent_again_is_given_back_and_a_qos_2_identifier_stays_in_use() {
    let mut outbound = Outbound::default();
    outbound.start_connection(10);
    let one = outbound.send(false, "one").unwrap();
    let two = outbound.send(true, "two").unwrap();
    outbound.start_connection(10);
    assert!(matches!(outbound.next_resend(), Some(Resend::Publish(id, ..)) if id == one));
    assert_eq!(outbound.give_up(one), Some(("one", false)));
    assert!(matches!(outbound.next_resend(), Some(Resend::Publish(id, ..)) if id == two));
    assert_eq!(outbound.give_up(two), Some(("two", true)));
    assert_eq!(outbound.give_up(two), None);
    assert_eq!(outbound.open_count(), 1);
    outbound.start_connection(10);
    assert_eq!(outbound.next_resend(), Some(Resend::PubRel(two)));
    assert!(outbound.on_pubcomp(two) && outbound.open_count() == 0);
    // Identifiers can be handed out once more.
    outbound.continue_behind(two.get());
    let three = outbound.send(true, "three").unwrap();
    assert_eq!(outbound.last_id(), three.get());
    outbound.continue_behind(0);
    assert_eq!(outbound.send(false, "four"), Some(one));
    assert_eq!(outbound.send(false, "five"), Some(two));
    assert_ne!(outbound.send(false, "six"), Some(three), "it is in use");
}

mod together;
