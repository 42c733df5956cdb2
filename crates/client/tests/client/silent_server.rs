//! A server that takes its time. The clock is stopped and jumps when everybody waits.

use std::time::Duration;

use martlet_client::{Client, Delivered, ErrorKind, ReasonCode, Version};
use martlet_codec::Packet;

use crate::server::{Sent, pipe};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn must_have_2_publish_waits_for_its_puback_and_enqueue_does_not() {
    for version in [Version::V311, Version::V5] {
        let (transport, mut servers) = pipe(version);
        let builder = Client::builder("mqtt://x")
            .version(version)
            .transport(transport);
        let connecting = tokio::spawn(builder.keep_alive(Duration::ZERO).connect());
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let client = connecting.await.unwrap().unwrap();
        let publish = client.publish("a", "1").qos(1).into_future();
        let mut publish = std::pin::pin!(publish);
        let hour = Duration::from_secs(3_600);
        assert!(
            tokio::time::timeout(hour, publish.as_mut()).await.is_err(),
            "pending"
        );
        let delivery = client.publish("a", "2").qos(1).enqueue().await.unwrap();
        for _ in 0..2 {
            assert!(matches!(
                server.next().await,
                Some(Sent::Publish { dup: false, .. })
            ));
        }
        let refusal = if version.is_v5() {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::Success
        };
        server.puback(1, refusal).await;
        server.puback(2, ReasonCode::Success).await;
        delivery.await.unwrap();
        let outcome = publish.await;
        if version.is_v5() {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Rejected(ReasonCode::NotAuthorized));
            assert_eq!(error.delivered, Delivered::No);
            assert_eq!(error.message.text(), "1", "the message comes back");
        } else {
            outcome.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn must_have_3_pings_flow_while_a_subscriber_sleeps() {
    for version in [Version::V311, Version::V5] {
        let (transport, mut servers) = pipe(version);
        let builder = Client::builder("mqtt://x")
            .version(version)
            .transport(transport);
        let connecting = tokio::spawn(builder.keep_alive(5 * SECOND).connect());
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let client = connecting.await.unwrap().unwrap();
        let subscribing = tokio::spawn(client.subscribe("a").qos(1).buffer(1).into_future());
        server.grant(1).await;
        let mut sub = subscribing.await.unwrap().unwrap();
        for id in 1..=20 {
            server.publish(id, 1, "a", &id.to_string()).await;
        }
        // Nobody takes anything for a minute.
        let end = tokio::time::Instant::now() + 60 * SECOND;
        let mut pings = 0;
        while let Ok(sent) = tokio::time::timeout_at(end, server.next()).await {
            assert_eq!(sent, Some(Sent::Ping), "and no acknowledgement");
            pings += 1;
            server.send(&Packet::PingResp).await;
        }
        assert!((12..15).contains(&pings), "{pings}");
        for id in 1..=20 {
            assert_eq!(sub.recv().await.unwrap().text(), id.to_string());
            assert_eq!(server.next().await, Some(Sent::PubAck(id)));
        }
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn must_have_7_a_server_that_is_silent_is_given_up() {
    for version in [Version::V311, Version::V5] {
        let (transport, mut servers) = pipe(version);
        let builder = Client::builder("mqtt://x")
            .version(version)
            .transport(transport);
        let client = builder.keep_alive(10 * SECOND).start().unwrap();
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let start = tokio::time::Instant::now();
        let mut state = client.state();
        state
            .wait_for(martlet_client::State::is_connected)
            .await
            .unwrap();
        state.wait_for(|state| !state.is_connected()).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 15);
        assert_eq!(server.next().await, Some(Sent::Ping));
        assert_eq!(server.next().await, None, "the socket is closed");
        let mut again = servers.recv().await.unwrap();
        again.accept(false).await;
        state
            .wait_for(martlet_client::State::is_connected)
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_publishers_wait_in_their_order() {
    let (transport, mut servers) = pipe(Version::V5);
    let outbox = martlet_client::Outbox::memory().max_messages(1);
    let builder = Client::builder("mqtt://x")
        .transport(transport)
        .outbox(outbox);
    let client = builder.max_in_flight(1).start().unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    let all = async {
        for n in 0..50 {
            drop(client.publish("a", n).qos(1).enqueue().await.unwrap());
        }
        let full = client.publish("a", "x").qos(1).try_enqueue();
        assert_eq!(full.unwrap_err().kind, ErrorKind::QueueFull);
    };
    let read = async {
        for n in 0..48_u16 {
            let Some(Sent::Publish { id, payload, .. }) = server.next().await else {
                panic!("PUBLISH {n}");
            };
            assert_eq!(payload, n.to_string());
            server.puback(id.unwrap(), ReasonCode::Success).await;
        }
        assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
    };
    tokio::join!(all, read);
}

#[tokio::test(start_paused = true)]
async fn room_for_several_wakes_several() {
    let (transport, mut servers) = pipe(Version::V5);
    let outbox = martlet_client::Outbox::memory().max_messages(3);
    let builder = Client::builder("mqtt://x")
        .transport(transport)
        .outbox(outbox);
    let client = builder.start().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..9 {
        tasks.spawn(client.publish("a", n).qos(1).enqueue());
    }
    // Three are in the queue, six wait.
    while client.stats().queued < 3 {
        tokio::task::yield_now().await;
    }
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    // Nothing is acknowledged; the window is large enough for all.
    for _ in 0..9 {
        assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
    }
    assert_eq!(tasks.join_all().await.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn the_end_says_goodbye_and_closes_the_socket() {
    for version in [Version::V311, Version::V5] {
        let (transport, mut servers) = pipe(version);
        let builder = Client::builder("mqtt://x")
            .version(version)
            .transport(transport);
        let connecting = tokio::spawn(builder.connect());
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let client = connecting.await.unwrap().unwrap();
        drop(client.publish("a", "last").try_enqueue().unwrap());
        drop(client);
        assert!(matches!(
            server.next().await,
            Some(Sent::Publish { qos: 0, .. })
        ));
        assert_eq!(server.next().await, Some(Sent::Disconnect));
        assert_eq!(server.next().await, None);
    }
}

/// Who looks at the state holds up whoever wants to change it, and nobody else.
#[test]
fn a_program_that_looks_at_the_state_for_long_stops_only_the_state() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (transport, mut servers) = pipe(Version::V5);
    let builder = Client::builder("mqtt://x").transport(transport);
    let connecting = runtime.spawn(builder.no_reconnect().connect());
    let (client, server, delivery) = runtime.block_on(async {
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let client = connecting.await.unwrap().unwrap();
        let delivery = client.publish("a", "b").qos(1).enqueue().await.unwrap();
        (client, server, delivery)
    });
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let state = client.state();
        let looking = state.borrow();
        assert!(looking.is_connected());
        // The end of the connection is the end of the client, and of all that waits.
        drop(server);
        while client.stats().failed == 0 {
            std::thread::yield_now();
        }
        let late = client.publish("a", "b").try_enqueue().unwrap_err();
        assert!(looking.is_connected(), "what it looks at does not change");
        done.send(late.kind).unwrap();
    });
    let Ok(outcome) = outcome.recv_timeout(Duration::from_secs(60)) else {
        // Its end would be waited for, too.
        runtime.shutdown_background();
        panic!("who looks at the state holds up the client");
    };
    assert_eq!(outcome, ErrorKind::Closed);
    let error = runtime.block_on(delivery).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Closed);
}
