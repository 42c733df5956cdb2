//! Links that are cut, stalled, split and corrupted, and brokers that go away.

use std::collections::BTreeMap;
use std::time::Duration;

use martlet_client::test::Link;
use martlet_client::{Client, ErrorKind, Overflow, Session, State, Subscription, Version};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::both;

const CUTS: u32 = 100;
const COUNT: u32 = CUTS * 20;
const HOUR: Duration = Duration::from_secs(3_600);

/// Counts what arrives until each of the values has come.
async fn collect(sub: &mut Subscription, count: u32) -> BTreeMap<u32, u32> {
    let mut seen = BTreeMap::new();
    while seen.len() < usize::try_from(count).unwrap() {
        let message = sub.recv().await.unwrap();
        *seen.entry(message.text().parse().unwrap()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn must_have_4_a_link_that_is_cut_a_hundred_times_loses_and_doubles_nothing() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let link = Link::to(broker.url()).await.unwrap();
        let persistent = |id: &str| {
            let quick = martlet_client::Reconnect {
                longest: Duration::from_millis(20),
                ..martlet_client::Reconnect::default()
            };
            Client::builder(link.url())
                .version(version)
                .client_id(id)
                .session(Session::persistent(HOUR))
                .reconnect(quick)
        };
        let sender = persistent("sender").connect().await.unwrap();
        let receiver = persistent("receiver").connect().await.unwrap();
        let mut once = receiver.subscribe("q2").qos(2).await.unwrap();
        let mut at_least_once = receiver.subscribe("q1").qos(1).await.unwrap();
        let feed = async {
            for n in 0..COUNT {
                for qos in [1, 2] {
                    let publish = sender.publish(format!("q{qos}"), n).qos(qos);
                    drop(publish.enqueue().await.unwrap());
                }
                if n % 20 == 10 {
                    link.cut();
                    // The next cut must not come before there is something to cut.
                    let mut state = sender.state();
                    state.wait_for(|state| !state.is_connected()).await.unwrap();
                    state.wait_for(State::is_connected).await.unwrap();
                }
            }
        };
        let ((), twos, ones) = tokio::join!(
            feed,
            collect(&mut once, COUNT),
            collect(&mut at_least_once, COUNT)
        );
        assert!(twos.values().all(|count| *count == 1), "exactly once");
        assert!(ones.values().all(|count| *count >= 1), "at least once");
        assert!(link.connection_count() > u64::from(CUTS));
        sender.flush(Duration::from_secs(30)).await.unwrap();
        assert_eq!(sender.stats().in_flight, 0);
        assert_eq!(sender.stats().sessions_lost, 0);
    })
    .await;
}

#[tokio::test]
async fn must_have_4_a_broker_that_is_restarted_gets_everything_at_least_once() {
    both(async |builder, broker| {
        let quick = martlet_client::Reconnect {
            longest: Duration::from_millis(50),
            ..martlet_client::Reconnect::default()
        };
        let client = builder.reconnect(quick).connect().await.unwrap();
        let mut sub = client.subscribe("a").qos(1).await.unwrap();
        for round in 0..100_u32 {
            for n in 0..20 {
                let delivery = client.publish("a", round * 20 + n).qos(1).enqueue().await;
                if n % 2 == 0 {
                    drop(delivery);
                } else {
                    delivery.unwrap().await.unwrap();
                }
            }
            broker.stop().await;
            let down = client
                .state()
                .wait_for(|state| !state.is_connected())
                .await
                .is_ok();
            assert!(down);
            let offline = client
                .publish("a", 10_000 + round)
                .qos(1)
                .enqueue()
                .await
                .unwrap();
            broker.restart().await.unwrap();
            offline.await.unwrap();
        }
        client.flush(Duration::from_secs(30)).await.unwrap();
        let mut seen = BTreeMap::<u32, u32>::new();
        while let Some(message) = sub.try_recv() {
            *seen.entry(message.text().parse().unwrap()).or_default() += 1;
        }
        // What was published while the broker was down came after its new subscription.
        assert!(
            (10_000..10_100).all(|value| seen.contains_key(&value)),
            "{seen:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn must_have_7_a_stalled_link_is_noticed_and_replaced() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let link = Link::to(broker.url()).await.unwrap();
        let client = Client::builder(link.url())
            .version(version)
            .keep_alive(Duration::from_secs(1))
            .connect()
            .await
            .unwrap();
        let mut state = client.state();
        link.stall();
        let delivery = client.publish("a", "b").qos(1).enqueue().await.unwrap();
        state.wait_for(|state| !state.is_connected()).await.unwrap();
        let State::Connecting {
            last_error: Some(error),
            ..
        } = state.borrow().clone()
        else {
            panic!("it tries again");
        };
        assert_eq!(error.kind(), ErrorKind::Timeout);
        link.resume();
        delivery.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_stalled_link_does_not_even_say_that_the_server_has_closed() {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("mqtt://{}", server.local_addr().unwrap());
    let link = Link::to(url).await.unwrap();
    let address = link.url().replace("mqtt://", "");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), server.accept());
    let mut client = client.unwrap();
    link.stall();
    drop(accepted);
    // Enough turns for the link to see the end, which is in the kernel already.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let mut buffer = [0; 1];
    let early = client.try_read(&mut buffer);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    link.resume();
    assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test]
async fn must_have_1_a_link_that_passes_single_bytes_changes_nothing() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let link = Link::to(broker.url()).await.unwrap();
        link.split(1);
        let client = Client::builder(link.url())
            .version(version)
            .connect()
            .await
            .unwrap();
        let mut sub = client.subscribe("a/#").qos(2).await.unwrap();
        for n in 0..30_u32 {
            client
                .publish("a/b", n)
                .qos(u8::try_from(n % 3).unwrap())
                .await
                .unwrap();
        }
        assert_eq!(collect(&mut sub, 30).await.len(), 30);
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_byte_costs_a_connection_and_nothing_else() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let link = Link::to(broker.url()).await.unwrap();
        let client = Client::builder(link.url())
            .version(version)
            .client_id("c")
            .session(Session::persistent(HOUR))
            .connect()
            .await
            .unwrap();
        link.corrupt_to_client();
        client.publish("a", "1").qos(1).await.unwrap();
        link.corrupt_to_server();
        client.publish("a", "2").qos(1).await.unwrap();
        assert!(link.connection_count() >= 3);
    })
    .await;
}

#[tokio::test]
async fn a_link_that_refuses_is_an_error_for_the_first_connection_only() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let link = Link::to(broker.url()).await.unwrap();
        link.refuse(true);
        let builder = || Client::builder(link.url()).version(version);
        let error = builder().connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let client = builder().start().unwrap();
        let mut state = client.state();
        let failed = |state: &State| {
            matches!(
                state,
                State::Connecting {
                    last_error: Some(_),
                    ..
                }
            )
        };
        state.wait_for(failed).await.unwrap();
        link.refuse(false);
        state.wait_for(State::is_connected).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_resumed_session_delivers_what_came_while_nobody_listened() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let persistent = || {
            Client::builder(broker.url())
                .version(version)
                .client_id("c")
                .session(Session::persistent(HOUR))
        };
        let first = persistent().connect().await.unwrap();
        first.subscribe("a").qos(1).await.unwrap().detach();
        first.close(Duration::from_secs(5)).await.unwrap();
        let other = builder.connect().await.unwrap();
        for n in 0..100 {
            other.publish("a", n).qos(1).await.unwrap();
        }
        let second = persistent().connect().await.unwrap();
        let mut state = second.state();
        let resumed = |state: &State| {
            matches!(
                state,
                State::Connected {
                    session_present: true,
                    ..
                }
            )
        };
        state.wait_for(resumed).await.unwrap();
        // The messages are there before anybody subscribes.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while second.stats().held < 64 && tokio::time::Instant::now() < deadline {
            second.publish("x", "").qos(1).await.unwrap();
        }
        let mut sub = second
            .subscribe("a")
            .qos(1)
            .overflow(Overflow::Backpressure)
            .await
            .unwrap();
        for n in 0..100 {
            assert_eq!(sub.recv().await.unwrap().text(), n.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_speaks_another_version_says_so() {
    let mut broker = martlet_client::test::Broker::start().await.unwrap();
    let client = Client::builder(broker.url())
        .version(Version::V31)
        .client_id("old");
    client
        .connect()
        .await
        .unwrap()
        .close(Duration::from_secs(5))
        .await
        .unwrap();
    broker.stop().await;
    let error = Client::builder(broker.url()).connect().await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    let error = Client::builder("mqtt://no.such.host.invalid")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
}
