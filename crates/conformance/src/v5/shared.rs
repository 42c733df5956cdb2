//! Shared subscriptions (section 4.8.2).

use std::time::{Duration, Instant};

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, fail};
use crate::harness::{Client, Target};
use crate::v5::support::{
    STRAGGLERS, clear_retained, closes, each, end_session, filter_refused, persistent,
};
use crate::wire::{Acknowledge, Connect, Message, Publish, Subscribe, Unsubscribe};

pub(crate) const CASES: &[Case] = &[
    case!(V5, wrong_shared_filters_are_refused, "4.8.2-1", "4.8.2-2"),
    case!(V5, no_local_on_a_shared_subscription_closes, "3.8.3-4"),
    case!(V5, each_message_goes_to_one_member_at_its_qos, "4.8.2-3"),
    case!(
        V5,
        groups_and_plain_subscriptions_are_independent,
        "4.5.0-1"
    ),
    case!(V5, shared_filter_matches_without_its_prefix, "4.8.2-2"),
    case!(
        V5,
        shared_subscription_is_removed_by_its_whole_filter,
        "3.10.4-1",
        "3.10.4-2"
    ),
    case!(V5, shared_subscription_gets_no_retained_messages),
    case!(
        V5,
        interrupted_qos_2_delivery_is_completed_to_the_same_member,
        "4.8.2-4"
    ),
    case!(
        V5,
        qos_2_message_of_an_ended_session_goes_to_nobody,
        "4.8.2-5"
    ),
    case!(
        V5,
        refused_message_is_not_offered_to_another_member,
        "4.8.2-6"
    ),
    case!(V5, messages_wait_for_online_members, "4.5.0-1"),
];

/// Reads until the clients together have `count` messages, all accepted, and demands that no more
/// come. The group's messages may take another way than a marker would.
fn gather<const N: usize>(
    mut clients: [&mut Client; N],
    count: usize,
) -> Verdict<[Vec<Message>; N]> {
    let mut got = [const { Vec::new() }; N];
    let started = Instant::now();
    while got.iter().map(Vec::len).sum::<usize>() < count {
        check(
            started.elapsed() < PATIENCE,
            "messages to the group are missing",
        )?;
        for (client, got) in clients.iter_mut().zip(&mut got) {
            if client.has_packet_within(Duration::from_millis(5))? {
                let message = client.expect_publish()?;
                client.accept(&message)?;
                got.push(message);
            }
        }
    }
    for client in clients {
        client.expect_quiet_for(STRAGGLERS)?;
    }
    Ok(got)
}

/// For all messages of a case together.
const PATIENCE: Duration = Duration::from_secs(5);

/// A group of two with these options, a publisher, the topic and the shared filter.
struct Group {
    publisher: Client,
    one: Client,
    two: Client,
    topic: String,
    filter: String,
}

impl Group {
    fn new(target: &Target, options: [u8; 2]) -> Verdict<Self> {
        target.needs_shared()?;
        target.needs_qos(2)?;
        let topic = target.topic("t");
        let filter = format!("$share/group/{topic}");
        let publisher = target.client(V5)?;
        let mut one = target.client(V5)?;
        let mut two = target.client(V5)?;
        let [first, second] = options;
        one.subscribe(&filter, first)?;
        two.subscribe(&filter, second)?;
        Ok(Self {
            publisher,
            one,
            two,
            topic,
            filter,
        })
    }

    fn publish(&mut self, qos: u8, text: &str) -> Verdict {
        let id = self.publisher.fresh_id();
        self.publisher
            .publish(&Publish::new(&self.topic, text).qos(qos, id))
    }
}

//= mqtt5 4.8.2-1 test
//= mqtt5 4.8.2-2 test
fn wrong_shared_filters_are_refused(target: &Target) -> Verdict {
    target.needs_shared()?;
    let wrong = [
        "$share//a",
        "$share/g",
        "$share/g/",
        "$share/",
        "$share/+/a",
        "$share/#/a",
        "$share/g+/a",
        "$share/g#",
        "$share/g/a#",
        "$share/g/a/#/b",
    ];
    each(wrong, |filter| filter_refused(target, filter))
}

//= mqtt5 3.8.3-4 test
fn no_local_on_a_shared_subscription_closes(target: &Target) -> Verdict {
    target.needs_shared()?;
    let filter = format!("$share/group/{}", target.topic("t"));
    closes(
        target,
        "No Local",
        Subscribe::new(1).filter(&filter, 0x04),
        &[],
    )
}

//= mqtt5 4.8.2-3 test
fn each_message_goes_to_one_member_at_its_qos(target: &Target) -> Verdict {
    let mut group = Group::new(target, [0, 1])?;
    for number in 0..20 {
        group.publish(2, &number.to_string())?;
    }
    let [one, two] = gather([&mut group.one, &mut group.two], 20)?;
    check(
        one.iter().all(|m| m.qos == 0),
        "the first member was granted QoS 0",
    )?;
    check(
        two.iter().all(|m| m.qos == 1),
        "the second member was granted QoS 1",
    )?;
    let mut got: Vec<u32> = one
        .iter()
        .chain(&two)
        .filter_map(|message| message.text().parse().ok())
        .collect();
    got.sort_unstable();
    check_eq("messages", got, (0..20).collect())
}

//= mqtt5 4.5.0-1 test
fn groups_and_plain_subscriptions_are_independent(target: &Target) -> Verdict {
    let mut group = Group::new(target, [1, 1])?;
    let mut other = target.client(V5)?;
    other.subscribe(&format!("$share/other/{}", group.topic), 1)?;
    group.one.subscribe(&group.topic, 1)?;
    let mut plain = target.client(V5)?;
    plain.subscribe(&group.topic, 1)?;
    for number in 0..6 {
        group.publish(1, &number.to_string())?;
    }
    gather([&mut other], 6).during("the other group")?;
    gather([&mut plain], 6).during("the plain subscriber")?;
    let [one, two] = gather([&mut group.one, &mut group.two], 12)?;
    check_eq(
        "messages to the group and to its member",
        one.len() + two.len(),
        12,
    )
}

//= mqtt5 4.8.2-2 test
fn shared_filter_matches_without_its_prefix(target: &Target) -> Verdict {
    target.needs_shared()?;
    target.needs_wildcards()?;
    let base = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    let slash = format!("/{base}");
    client.subscribe(&format!("$share/g/{base}/+/x/#"), 1)?;
    client.subscribe(&format!("$share/g/{slash}"), 1)?;
    for topic in [format!("{base}/a/x"), format!("{base}/a/x/y"), slash] {
        publisher.publish_acked(&topic, "x")?;
        let message = client.expect_message(&topic, "x")?;
        client.accept(&message)?;
    }
    publisher.publish_acked(&base, "x")?;
    client.expect_silence(&mut publisher)
}

//= mqtt5 3.10.4-1 test
//= mqtt5 3.10.4-2 test
fn shared_subscription_is_removed_by_its_whole_filter(target: &Target) -> Verdict {
    let mut group = Group::new(target, [1, 1])?;
    group.one.subscribe(&group.topic, 1)?;
    // The filter behind the prefix is another subscription.
    let topic = group.topic.clone();
    group.one.send(
        Unsubscribe::new(90)
            .filter(&group.filter)
            .filter(&group.filter),
    )?;
    let codes = group.one.expect_unsuback(90)?.codes;
    check_eq("codes of UNSUBACK", codes, vec![0, 0x11])?;
    for number in 0..4 {
        group.publish(1, &number.to_string())?;
    }
    for number in 0..4 {
        let message = group.one.expect_message(&topic, number.to_string())?;
        group.one.accept(&message)?;
    }
    gather([&mut group.one, &mut group.two], 4).map(drop)
}

fn shared_subscription_gets_no_retained_messages(target: &Target) -> Verdict {
    target.needs_shared()?;
    target.needs_retain()?;
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1))?;
    let mut client = target.client(V5)?;
    client.subscribe(&format!("$share/g/{topic}"), 1)?;
    client.expect_silence(&mut publisher)?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 4.8.2-4 test
fn interrupted_qos_2_delivery_is_completed_to_the_same_member(target: &Target) -> Verdict {
    target.needs_shared()?;
    target.needs_qos(2)?;
    for released in [false, true] {
        let (id, topic) = (target.id(), target.topic("t"));
        let filter = format!("$share/group/{topic}");
        let mut publisher = target.client(V5)?;
        let (mut member, _) = persistent(target, Connect::v5(&id))?;
        member.subscribe(&filter, 2)?;
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1))?;
        let message = member.expect_message(&topic, "x")?;
        let mut other = target.client(V5)?;
        other.subscribe(&filter, 2)?;
        if released {
            member.send(Acknowledge::pubrec(message.id))?;
            member.expect_pubrel(message.id)?;
        }
        member.sever();
        let (mut member, _) = persistent(target, Connect::v5(&id).resume())?;
        if released {
            member.expect_pubrel(message.id)?;
            member.send(Acknowledge::pubcomp(message.id))?;
        } else {
            let again = member.expect_message(&topic, "x")?;
            check(
                again.dup && again.id == message.id,
                "not the same delivery, repeated",
            )?;
            member.accept(&again)?;
        }
        member.expect_nothing()?;
        other
            .expect_silence(&mut publisher)
            .during("the other member")?;
        end_session(target, &id)?;
    }
    Ok(())
}

//= mqtt5 4.8.2-5 test
fn qos_2_message_of_an_ended_session_goes_to_nobody(target: &Target) -> Verdict {
    for released in [false, true] {
        let mut group = Group::new(target, [2, 2])?;
        group.publish(2, "x")?;
        let (mut first, mut second) = owner(group.one, group.two)?;
        let message = first.expect_message(&group.topic, "x")?;
        if released {
            first.send(Acknowledge::pubrec(message.id))?;
            first.expect_pubrel(message.id)?;
        }
        // Its session has no expiry interval, so it ends with the connection.
        first.disconnect()?;
        second
            .expect_silence(&mut group.publisher)
            .during(&group.filter)?;
    }
    Ok(())
}

//= mqtt5 4.8.2-6 test
fn refused_message_is_not_offered_to_another_member(target: &Target) -> Verdict {
    for qos in [1, 2] {
        let mut group = Group::new(target, [qos, qos])?;
        group.publish(qos, "x")?;
        let (mut first, mut second) = owner(group.one, group.two)?;
        let message = first.expect_message(&group.topic, "x")?;
        first.send(match qos {
            1 => Acknowledge::puback(message.id).code(0x83),
            _ => Acknowledge::pubrec(message.id).code(0x83),
        })?;
        first.expect_nothing()?;
        second.expect_silence(&mut group.publisher)?;
        second.expect_quiet_for(STRAGGLERS)?;
        first.expect_silence(&mut group.publisher)?;
    }
    Ok(())
}

/// The member that was given the message that has just been published, and the other.
fn owner(mut one: Client, mut two: Client) -> Verdict<(Client, Client)> {
    let patience = one.timeout();
    let step = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    while waited < patience {
        if one.has_packet_within(step)? {
            return Ok((one, two));
        }
        if two.has_packet_within(step)? {
            return Ok((two, one));
        }
        waited += 2 * step;
    }
    fail("no member of the group was given the message")
}

//= mqtt5 4.5.0-1 test
fn messages_wait_for_online_members(target: &Target) -> Verdict {
    target.needs_shared()?;
    let (id, topic) = (target.id(), target.topic("t"));
    let filter = format!("$share/group/{topic}");
    let mut publisher = target.client(V5)?;
    let (mut away, _) = persistent(target, Connect::v5(&id))?;
    away.subscribe(&filter, 1)?;
    away.disconnect()?;
    let mut online = target.client(V5)?;
    online.subscribe(&filter, 1)?;
    for number in 0..10 {
        publisher.publish_acked(&topic, &number.to_string())?;
    }
    // Dealing some to the member that is away is allowed; then they wait in its session.
    let (mut away, _) = persistent(target, Connect::v5(&id).resume())?;
    gather([&mut online, &mut away], 10)?;
    end_session(target, &id)
}
