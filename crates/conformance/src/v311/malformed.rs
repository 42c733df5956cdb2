//! Packets that cannot be read or that a client never sends (sections 2.2, 3 and 4.8).

use super::{about, client, closes_on, subscriber};
use crate::case::{Case, Verdict, Version, check_eq, fail};
use crate::harness::{Event, Target};
use crate::wire::{
    Acknowledge, Bytes, Connect, Ping, Publish, Subscribe, Unsubscribe, Will, packet,
};
use std::time::Instant;

cases! {
    packet_identifier_zero_closes: ["2.3.1-1"];
    publish_qos_3_closes: ["3.3.1-4"];
    dup_with_qos_0_is_never_passed_on: ["3.3.1-2"];
    packets_of_servers_close: ["4.8.0-1"];
    reserved_packet_types_close: ["4.8.0-1"];
    remaining_length_of_five_bytes_closes: ["4.8.0-1"];
    trailing_bytes_of_acknowledgements_close: ["4.8.0-1"];
    short_acknowledgements_close: ["4.8.0-1"];
    body_of_pingreq_closes: ["4.8.0-1"];
    disconnect_with_a_body_is_no_disconnect: ["4.8.0-1"];
    lengths_that_leave_the_packet_close: ["4.8.0-1"];
    subscribe_without_filters_closes: ["3.8.3-3"];
    unsubscribe_without_filters_closes: ["3.10.3-2"];
    reserved_bits_of_subscribe_options_close: ["3.8.3-4"];
    subscribe_qos_3_closes: ["3.8.3-4"];
    one_bad_filter_spoils_the_whole_packet: ["3.8.3-4"];
    fault_of_one_client_does_not_touch_others: ["4.8.0-1"];
    packets_before_a_fault_count: ["4.8.0-1", "3.1.2-8"];
    half_packets_cost_others_nothing: [];
}

//= mqtt311 2.3.1-1 test
fn packet_identifier_zero_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let subscribe = Subscribe::new(0).filter(&topic, 0);
    closes_on(target, "PUBLISH QoS 1", Publish::new(&topic, "x").qos(1, 0))?;
    closes_on(target, "PUBLISH QoS 2", Publish::new(&topic, "x").qos(2, 0))?;
    closes_on(target, "SUBSCRIBE", subscribe)?;
    closes_on(target, "UNSUBSCRIBE", Unsubscribe::new(0).filter(&topic))
}

//= mqtt311 3.3.1-4 test
fn publish_qos_3_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut watcher = subscriber(target, &topic, 2)?;
    closes_on(target, "QoS 3", Publish::new(&topic, "x").qos(3, 1))?;
    closes_on(
        target,
        "QoS 3 DUP",
        Publish::new(&topic, "x").qos(3, 1).dup(),
    )?;
    watcher.expect_silence(&mut client(target)?)
}

/// The reaction of a receiver is not specified: it may close, or take the message.
//= mqtt311 3.3.1-2 test
fn dup_with_qos_0_is_never_passed_on(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    publisher.send(Publish::new(&topic, "x").dup())?;
    publisher.send(Ping)?;
    match publisher.read(Instant::now() + publisher.timeout())? {
        Event::Closed => receiver.expect_silence(&mut client(target)?),
        // The strict reader refuses a PUBLISH with DUP and QoS 0.
        Event::Packet(_) => receiver.expect_message(&topic, "x").map(drop),
        Event::Timeout => fail("neither closed nor served"),
    }
}

//= mqtt311 4.8.0-1 test
fn packets_of_servers_close(target: &Target) -> Verdict {
    closes_on(target, "CONNACK", [0x20, 2, 0, 0])?;
    closes_on(target, "SUBACK", [0x90, 3, 0, 1, 0])?;
    closes_on(target, "UNSUBACK", [0xB0, 2, 0, 1])?;
    closes_on(target, "PINGRESP", [0xD0, 0])
}

//= mqtt311 4.8.0-1 test
fn reserved_packet_types_close(target: &Target) -> Verdict {
    closes_on(target, "type 0", [0x00, 0])?;
    closes_on(target, "type 0 with a body", [0x00, 2, 0, 1])?;
    closes_on(target, "type 15", [0xF0, 0])?;
    closes_on(target, "type 15 with a body", [0xF0, 2, 0, 0])
}

//= mqtt311 4.8.0-1 test
fn remaining_length_of_five_bytes_closes(target: &Target) -> Verdict {
    for first in [0x30, 0xC0, 0x82, 0x40] {
        let what = format!("first byte 0x{first:02X}");
        closes_on(target, &what, [first, 0x80, 0x80, 0x80, 0x80, 0x01])?;
    }
    Ok(())
}

//= mqtt311 4.8.0-1 test
fn trailing_bytes_of_acknowledgements_close(target: &Target) -> Verdict {
    closes_on(target, "PUBACK", Acknowledge::puback(1).code(0))?;
    closes_on(target, "PUBREC", Acknowledge::pubrec(1).code(0))?;
    closes_on(target, "PUBREL", Acknowledge::pubrel(1).code(0))?;
    closes_on(target, "PUBCOMP", Acknowledge::pubcomp(1).code(0))
}

//= mqtt311 4.8.0-1 test
fn short_acknowledgements_close(target: &Target) -> Verdict {
    for first in [0x40, 0x50, 0x62, 0x70] {
        closes_on(target, &format!("0x{first:02X} of length 0"), [first, 0])?;
        closes_on(target, &format!("0x{first:02X} of length 1"), [first, 1, 1])?;
    }
    Ok(())
}

//= mqtt311 4.8.0-1 test
fn body_of_pingreq_closes(target: &Target) -> Verdict {
    closes_on(target, "PINGREQ of length 1", [0xC0, 1, 0])
}

/// The connection ends in any case; that it ended for a fault shows in the will.
//= mqtt311 4.8.0-1 test
fn disconnect_with_a_body_is_no_disconnect(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    for body in [&[0][..], &[0, 0], &[4]] {
        let payload = format!("{body:?}");
        let will = Will::new(&topic, &payload);
        let (mut client, _) = target.connect(&Connect::v311(&target.id()).will(will))?;
        client.send(packet(0xE0, body))?;
        about(&payload, client.expect_closed())?;
        about(&payload, watcher.expect_message(&topic, &payload))?;
    }
    Ok(())
}

//= mqtt311 4.8.0-1 test
fn lengths_that_leave_the_packet_close(target: &Target) -> Verdict {
    let long = Bytes::new().u16(9).raw(b"abc").0;
    let in_subscribe = |rest: &[u8]| Bytes::new().u16(1).raw(rest).0;
    closes_on(target, "topic name", packet(0x30, &long))?;
    closes_on(target, "PUBLISH of length 0", packet(0x30, &[]))?;
    closes_on(target, "PUBLISH of length 1", packet(0x30, &[0]))?;
    let publish = Bytes::new().string("t");
    closes_on(target, "no packet identifier", packet(0x32, &publish.0))?;
    let publish = Bytes::new().string("t").u8(1);
    closes_on(target, "half a packet identifier", packet(0x34, &publish.0))?;
    closes_on(
        target,
        "filter in SUBSCRIBE",
        packet(0x82, &in_subscribe(&long)),
    )?;
    closes_on(
        target,
        "filter in UNSUBSCRIBE",
        packet(0xA2, &in_subscribe(&long)),
    )?;
    let no_qos = Bytes::new().string("abc").0;
    closes_on(
        target,
        "filter without QoS",
        packet(0x82, &in_subscribe(&no_qos)),
    )?;
    let one_more = Subscribe::new(1).filter("abc", 0).raw(&[0]);
    closes_on(target, "half a length in SUBSCRIBE", one_more)?;
    let half = Bytes::new().string("abc").u8(0).0;
    closes_on(
        target,
        "half a length in UNSUBSCRIBE",
        packet(0xA2, &in_subscribe(&half)),
    )
}

//= mqtt311 3.8.3-3 test
fn subscribe_without_filters_closes(target: &Target) -> Verdict {
    closes_on(target, "no filter", Subscribe::new(1))?;
    closes_on(target, "no packet identifier", packet(0x82, &[]))
}

//= mqtt311 3.10.3-2 test
fn unsubscribe_without_filters_closes(target: &Target) -> Verdict {
    closes_on(target, "no filter", Unsubscribe::new(1))?;
    closes_on(target, "no packet identifier", packet(0xA2, &[]))
}

//= mqtt311 3.8.3-4 test
fn reserved_bits_of_subscribe_options_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    for bit in 2..8 {
        let options = 1 | 1 << bit;
        let what = format!("options {options:08b}");
        closes_on(target, &what, Subscribe::new(1).filter(&topic, options))?;
    }
    Ok(())
}

//= mqtt311 3.8.3-4 test
fn subscribe_qos_3_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    closes_on(target, "QoS 3", Subscribe::new(1).filter(&topic, 3))
}

/// A fault in the last filter of a persistent session's SUBSCRIBE: none of it may have been done
/// silently, so the broker closes; whether the first filter counts is its choice.
//= mqtt311 3.8.3-4 test
fn one_bad_filter_spoils_the_whole_packet(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let packet = Subscribe::new(1).filter(&topic, 1).filter(&topic, 0x80);
    closes_on(target, "second of two", packet)
}

//= mqtt311 4.8.0-1 test
fn fault_of_one_client_does_not_touch_others(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut bystander = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    let mut bad = subscriber(target, &topic, 1)?;
    publisher.publish_acked(&topic, "before")?;
    bad.expect_message(&topic, "before")?;
    bad.send([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])?;
    bad.expect_closed()?;
    publisher.publish_acked(&topic, "after")?;
    for payload in ["before", "after"] {
        let message = bystander.expect_message(&topic, payload)?;
        bystander.accept(&message)?;
    }
    bystander.expect_nothing()
}

//= mqtt311 4.8.0-1 test
//= mqtt311 3.1.2-8 test
fn packets_before_a_fault_count(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut watcher = subscriber(target, &topic, 0)?;
    let will = Will::new(&topic, "will");
    let (mut client, _) = target.connect(&Connect::v311(&target.id()).will(will))?;
    client.send(Publish::new(&topic, "first"))?;
    client.send([0x00, 0])?;
    client.send(Publish::new(&topic, "behind"))?;
    client.expect_closed()?;
    watcher.expect_message(&topic, "first")?;
    let next = watcher.expect_publish()?;
    check_eq("what follows the fault", next.text().as_str(), "will")?;
    watcher.expect_nothing()
}

/// Announced lengths are promises, not memory, and a half CONNECT is no client.
fn half_packets_cost_others_nothing(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    let mut half = Vec::new();
    for _ in 0..50 {
        // 256 MiB are announced; whoever cannot take them may close.
        let mut promising = client(target)?;
        promising.send([0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'a'])?;
        let mut unfinished = target.open(Version::V311)?;
        unfinished.send([0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, b'M', b'Q'])?;
        half.push((promising, unfinished));
        publisher.publish_acked(&topic, "x")?;
        let message = receiver.expect_message(&topic, "x")?;
        receiver.accept(&message)?;
    }
    receiver.expect_nothing()
}
