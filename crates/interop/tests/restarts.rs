//! Our client and our broker, whose process is killed a hundred times under it: nothing that was acknowledged is lost, QoS 2
//! comes exactly once, and the order stays.
//!
//! `MARTLET_RESTART_DURABILITY=fsync` runs it with a sync for each batch; a killed process needs none.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code: what goes wrong fails the test that asked for it"
)]

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use martlet_client::{Client, Delivery, Reconnect, Session, Subscription, Version};
use martlet_interop::BrokerUnderTest;
use tokio::task::{JoinHandle, spawn_blocking};

const RESTARTS: u32 = 100;
/// Messages of each QoS between two restarts.
const BATCH: u32 = 20;
const COUNT: u32 = RESTARTS * BATCH;
const HOUR: Duration = Duration::from_secs(3_600);
const LIMIT: Duration = Duration::from_secs(240);

fn client(broker: &BrokerUnderTest, version: Version, id: &str) -> martlet_client::Builder {
    let quick = Reconnect {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
        ..Reconnect::default()
    };
    Client::builder(format!("mqtt://{}", broker.address()))
        .version(version)
        .client_id(id)
        .session(Session::persistent(HOUR))
        .reconnect(quick)
}

/// Reads until the last number has come; every number, as it came.
fn collect(mut sub: Subscription) -> JoinHandle<Vec<u32>> {
    tokio::spawn(async move {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&(COUNT - 1)) {
            let message = sub.recv().await.unwrap();
            numbers.push(message.text().parse().unwrap());
        }
        numbers
    })
}

async fn restart(mut broker: BrokerUnderTest) -> BrokerUnderTest {
    spawn_blocking(move || {
        broker.restart().unwrap();
        broker
    })
    .await
    .unwrap()
}

async fn live_through_it(version: Version) {
    let durability = env::var("MARTLET_RESTART_DURABILITY").unwrap_or_else(|_| "os".into());
    let mut broker =
        spawn_blocking(move || BrokerUnderTest::start_durable(2, &durability).unwrap())
            .await
            .unwrap();
    let sender = client(&broker, version, "sender").max_in_flight(32);
    let sender = sender.connect().await.unwrap();
    let receiver = client(&broker, version, "receiver");
    let receiver = receiver.connect().await.unwrap();
    let ones = collect(receiver.subscribe("q1").qos(1).await.unwrap());
    let twos = collect(receiver.subscribe("q2").qos(2).await.unwrap());
    let mut under_way = VecDeque::<Delivery>::new();
    let (mut again, mut killed_under_way) = (0, 0);
    for round in 0..RESTARTS {
        for n in round * BATCH..(round + 1) * BATCH {
            for qos in [1, 2] {
                let publish = sender.publish(format!("q{qos}"), n).qos(qos);
                under_way.push_back(publish.enqueue().await.unwrap());
            }
        }
        // Sooner or later in the batch, so that it dies in every part of both handshakes.
        while under_way.len() > (round * 7 % (2 * BATCH)) as usize {
            let receipt = under_way.pop_front().unwrap().await.unwrap();
            again += u32::from(receipt.retransmitted);
        }
        killed_under_way += u32::from(sender.stats().in_flight > 0);
        broker = restart(broker).await;
        for client in [&sender, &receiver] {
            let mut state = client.state();
            while client.stats().connections < u64::from(round) + 2 {
                state.changed().await.unwrap();
            }
        }
    }
    for delivery in under_way {
        again += u32::from(delivery.await.unwrap().retransmitted);
    }
    let (ones, twos) = (ones.await.unwrap(), twos.await.unwrap());
    let all: Vec<u32> = (0..COUNT).collect();
    assert_eq!(twos, all, "exactly once, in order");
    let mut seen = std::collections::BTreeSet::new();
    let firsts: Vec<u32> = ones
        .into_iter()
        .filter(|number| seen.insert(*number))
        .collect();
    assert_eq!(firsts, all, "at least once, in order");
    // It was as bad as it was meant to be.
    assert!(killed_under_way > RESTARTS / 2, "{killed_under_way}");
    assert!(again > RESTARTS / 2, "{again} messages were sent again");
    for client in [&sender, &receiver] {
        let stats = client.stats();
        assert_eq!(stats.sessions_lost, 0, "{stats:?}");
        assert_eq!(stats.connections, u64::from(RESTARTS) + 1);
    }
    for client in [sender, receiver] {
        client.close(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test]
async fn must_have_4_a_broker_that_is_killed_a_hundred_times_loses_and_doubles_nothing_in_3_1_1() {
    let all = live_through_it(Version::V311);
    tokio::time::timeout(LIMIT, all).await.unwrap();
}

#[tokio::test]
async fn must_have_4_a_broker_that_is_killed_a_hundred_times_loses_and_doubles_nothing_in_5_0() {
    let all = live_through_it(Version::V5);
    tokio::time::timeout(LIMIT, all).await.unwrap();
}
