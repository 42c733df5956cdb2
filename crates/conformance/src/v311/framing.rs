//! Packets on the byte stream: sizes, cuts, fixed headers (section 2), PINGREQ.

use super::{about, client, closes_on, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq};
use crate::harness::Target;
use crate::wire::{
    Acknowledge, Connect, Disconnect, Encode, Ping, Publish, Subscribe, Unsubscribe, Will, packet,
};

cases! {
    pingreq_is_answered: ["3.12.4-1"];
    packets_cut_at_every_byte_are_served: ["3.1.4-4", "3.3.4-1"];
    remaining_length_of_every_size_is_read: ["3.3.2-1"];
    payload_of_256_kib_arrives_unchanged: ["4.3.1-1", "4.3.2-1", "4.3.3-1"];
    many_packets_in_one_write_are_all_served: ["3.8.4-1", "3.12.4-1"];
    wrong_flags_close: ["2.2.2-1", "2.2.2-2"];
    wrong_connect_flags_in_the_first_byte_close: ["2.2.2-2", "3.1.4-1"];
    wrong_pubrel_flags_close: ["3.6.1-1", "2.2.2-2"];
    wrong_subscribe_flags_close: ["3.8.1-1", "2.2.2-2"];
    wrong_unsubscribe_flags_close: ["3.10.1-1", "2.2.2-2"];
    disconnect_with_wrong_flags_is_no_disconnect: ["3.14.1-1", "2.2.2-2"];
}

//= mqtt311 3.12.4-1 test
fn pingreq_is_answered(target: &Target) -> Verdict {
    let mut client = client(target)?;
    for _ in 0..3 {
        client.send(Ping)?;
        client.expect_pingresp()?;
    }
    client.expect_nothing()
}

//= mqtt311 3.1.4-4 test
//= mqtt311 3.3.4-1 test
fn packets_cut_at_every_byte_are_served(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.open(Version::V311)?;
    let packets: [&dyn Encode; 6] = [
        &Connect::v311(&target.id()).will(Will::new(&topic, "never")),
        &Subscribe::new(1).filter(&topic, 1),
        &Publish::new(&topic, "0"),
        &Publish::new(&topic, "1").qos(1, 2),
        &Unsubscribe::new(3).filter(&topic),
        &Ping,
    ];
    for packet in packets {
        for byte in packet.encode(Version::V311) {
            client.send([byte])?;
        }
    }
    client.expect_connack()?;
    client.expect_suback(1)?;
    client.expect_puback(2)?;
    client.expect_unsuback(3)?;
    client.expect_pingresp()?;
    // In any order, since order holds per QoS only; and PUBLISH may overtake answers.
    let mut payloads = Vec::new();
    for _ in 0..2 {
        let message = client.expect_publish()?;
        client.accept(&message)?;
        payloads.push(message.text());
    }
    payloads.sort();
    check_eq("payloads", payloads.concat().as_str(), "01")?;
    // The same in two pieces, cut at each byte in turn.
    let bytes = Publish::new(&topic, "cut").qos(1, 9).encode(Version::V311);
    for at in 1..bytes.len() {
        let (head, tail) = bytes.split_at(at);
        client.send(head.to_vec())?;
        client.send(tail.to_vec())?;
        about(&format!("cut at {at}"), client.expect_puback(9))?;
    }
    client.expect_nothing()
}

//= mqtt311 3.3.2-1 test
fn remaining_length_of_every_size_is_read(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    let head = 2 + topic.len();
    for length in [127, 128, 129, 16_383, 16_384, 16_385] {
        let payload = pattern(length - head);
        publisher.send(Publish::new(&topic, &payload))?;
        let message = receiver.expect_publish()?;
        check(
            message.payload == payload,
            &format!("remaining length {length}: other payload"),
        )?;
    }
    publisher.send(Publish::new(&topic, ""))?;
    receiver.expect_message(&topic, "")?;
    Ok(())
}

//= mqtt311 4.3.1-1 test
//= mqtt311 4.3.2-1 test
//= mqtt311 4.3.3-1 test
fn payload_of_256_kib_arrives_unchanged(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    let payload = pattern(256 * 1024);
    for qos in 0..3 {
        publisher.publish(&Publish::new(&topic, &payload).qos(qos, 7))?;
        let message = receiver.expect_publish()?;
        check_eq("QoS", message.qos, qos)?;
        check(
            message.payload == payload,
            &format!("QoS {qos}: another payload"),
        )?;
        receiver.accept(&message)?;
    }
    receiver.expect_nothing()
}

/// Bytes of every value, so that a lost or repeated piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

//= mqtt311 3.8.4-1 test
//= mqtt311 3.12.4-1 test
fn many_packets_in_one_write_are_all_served(target: &Target) -> Verdict {
    let mut client = client(target)?;
    let mut bytes = Vec::new();
    for id in 1..=200 {
        let filter = target.topic("t");
        bytes.extend(Subscribe::new(id).filter(&filter, 1).encode(Version::V311));
        bytes.extend(Ping.encode(Version::V311));
    }
    client.send(bytes)?;
    for id in 1..=200 {
        client.expect_suback(id)?;
        client.expect_pingresp()?;
    }
    client.expect_nothing()
}

//= mqtt311 2.2.2-1 test
//= mqtt311 2.2.2-2 test
fn wrong_flags_close(target: &Target) -> Verdict {
    let acknowledgements = [
        Acknowledge::puback(1),
        Acknowledge::pubrec(1),
        Acknowledge::pubcomp(1),
    ];
    for (packet, first) in acknowledgements.into_iter().zip([0x40, 0x50, 0x70]) {
        for bit in [1, 2, 4, 8] {
            let first = first | bit;
            closes_on(
                target,
                &format!("first byte 0x{first:02X}"),
                packet.clone().first(first),
            )?;
        }
    }
    for bit in [1, 2, 4, 8] {
        closes_on(
            target,
            &format!("PINGREQ with flags {bit:04b}"),
            [0xC0 | bit, 0],
        )?;
    }
    Ok(())
}

//= mqtt311 2.2.2-2 test
//= mqtt311 3.1.4-1 test
fn wrong_connect_flags_in_the_first_byte_close(target: &Target) -> Verdict {
    for bit in [1, 2, 4, 8] {
        let mut client = target.open(Version::V311)?;
        client.send(packet(0x10 | bit, &Connect::v311(&target.id()).body()))?;
        about(&format!("flags {bit:04b}"), client.expect_closed())?;
    }
    Ok(())
}

//= mqtt311 3.6.1-1 test
//= mqtt311 2.2.2-2 test
fn wrong_pubrel_flags_close(target: &Target) -> Verdict {
    for first in [0x60, 0x61, 0x63, 0x64, 0x66, 0x6A, 0x6F] {
        let what = format!("first byte 0x{first:02X}");
        closes_on(target, &what, Acknowledge::pubrel(1).first(first))?;
    }
    Ok(())
}

//= mqtt311 3.8.1-1 test
//= mqtt311 2.2.2-2 test
fn wrong_subscribe_flags_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    for first in [0x80, 0x81, 0x83, 0x84, 0x86, 0x8A, 0x8F] {
        let packet = Subscribe::new(1).filter(&topic, 0).first(first);
        closes_on(target, &format!("first byte 0x{first:02X}"), packet)?;
    }
    Ok(())
}

//= mqtt311 3.10.1-1 test
//= mqtt311 2.2.2-2 test
fn wrong_unsubscribe_flags_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    for first in [0xA0, 0xA1, 0xA3, 0xA4, 0xA6, 0xAA, 0xAF] {
        let packet = Unsubscribe::new(1).filter(&topic).first(first);
        closes_on(target, &format!("first byte 0x{first:02X}"), packet)?;
    }
    Ok(())
}

/// Either way the connection ends; that it ended for a fault shows in the will.
//= mqtt311 3.14.1-1 test
//= mqtt311 2.2.2-2 test
fn disconnect_with_wrong_flags_is_no_disconnect(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    for bit in [1, 2, 4, 8] {
        let payload = format!("flags {bit:04b}");
        let will = Will::new(&topic, &payload);
        let (mut client, _) = target.connect(&Connect::v311(&target.id()).will(will))?;
        client.send([0xE0 | bit, 0])?;
        about(&payload, client.expect_closed())?;
        watcher.expect_message(&topic, &payload)?;
    }
    // For contrast, the right one.
    let will = Will::new(&topic, "none");
    let (mut client, _) = target.connect(&Connect::v311(&target.id()).will(will))?;
    client.disconnect_with(&Disconnect::new())?;
    watcher.expect_silence(&mut super::client(target)?)
}
