//! Futures that are dropped before they are ready: what the documentation of each method promises.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use martlet_client::{Client, ErrorKind, Outbox, Session, Version};

use crate::both;
use crate::server::{Sent, pipe};

/// Polls a future so many times, letting others run in between, and drops it.
async fn poll_some<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..times {
        let mut cx = Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_dropped_closes_its_socket_and_leaves_no_task() {
    for stage in 0..2 {
        let (transport, mut servers) = pipe(Version::V5);
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let mut connecting = Box::pin(Client::builder("mqtt://x").transport(transport).connect());
        assert!(poll_some(connecting.as_mut(), 3).await.is_none());
        let mut server = servers.recv().await.unwrap();
        if stage == 1 {
            assert!(matches!(server.next().await, Some(Sent::Connect { .. })));
        }
        drop(connecting);
        while server.next().await.is_some() {}
        let left = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(left, tasks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_dropped_before_admission_sends_nothing_and_after_it_everything() {
    let (transport, mut servers) = pipe(Version::V5);
    let outbox = Outbox::memory().max_messages(1);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .outbox(outbox);
    let client = client.start().unwrap();
    // Never polled: not admitted.
    drop(client.publish("a", "never").qos(1).into_future());
    // Polled once: admitted, and dropped.
    assert!(
        poll_some(client.publish("a", "first").qos(1).into_future(), 1)
            .await
            .is_none()
    );
    // No room: not admitted.
    assert!(
        poll_some(client.publish("a", "no").qos(1).into_future(), 3)
            .await
            .is_none()
    );
    assert!(
        poll_some(client.publish("a", "no").qos(1).enqueue(), 3)
            .await
            .is_none()
    );
    assert_eq!(client.stats().queued, 1);
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    // The room that the two gave up goes to the next one.
    let second = client
        .publish("a", "second")
        .qos(1)
        .enqueue()
        .await
        .unwrap();
    drop(second);
    for expected in ["first", "second"] {
        let Some(Sent::Publish { payload, .. }) = server.next().await else {
            panic!("{expected}");
        };
        assert_eq!(payload, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_can_be_taken_back_until_it_is_on_the_wire() {
    let (transport, mut servers) = pipe(Version::V5);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .start()
        .unwrap();
    let delivery = client.publish("a", "back").qos(1).enqueue().await.unwrap();
    assert_eq!(delivery.cancel().unwrap().text(), "back");
    let delivery = client.publish("a", "sent").qos(1).enqueue().await.unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
    let late = delivery.cancel().unwrap_err();
    server.puback(1, martlet_client::ReasonCode::Success).await;
    late.0.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_that_is_dropped_midway_is_unsubscribed() {
    let (transport, mut servers) = pipe(Version::V5);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .start()
        .unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    let mut state = client.state();
    state
        .wait_for(martlet_client::State::is_connected)
        .await
        .unwrap();
    assert!(
        poll_some(client.subscribe("a").into_future(), 3)
            .await
            .is_none()
    );
    assert!(matches!(server.next().await, Some(Sent::Subscribe(_))));
    assert!(matches!(server.next().await, Some(Sent::Unsubscribe(_))));
    // An unsubscribe whose future is dropped happens all the same.
    let subscribing = tokio::spawn(client.subscribe("b").into_future());
    server.grant(0).await;
    let sub = subscribing.await.unwrap().unwrap();
    assert!(poll_some(sub.unsubscribe(), 2).await.is_none());
    assert!(matches!(server.next().await, Some(Sent::Unsubscribe(_))));
}

#[tokio::test(start_paused = true)]
async fn recv_flush_and_state_lose_nothing_when_dropped() {
    let (transport, mut servers) = pipe(Version::V5);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .start()
        .unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    let subscribing = tokio::spawn(client.subscribe("a").qos(1).into_future());
    server.grant(1).await;
    let mut sub = subscribing.await.unwrap().unwrap();
    for id in 1..=100 {
        // Dropped again and again while the message is on its way.
        assert!(poll_some(sub.recv(), 1).await.is_none());
        server.publish(id, 1, "a", &id.to_string()).await;
        let message = loop {
            if let Some(message) = poll_some(sub.recv(), 1).await {
                break message;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(message.unwrap().text(), id.to_string());
        assert_eq!(server.next().await, Some(Sent::PubAck(id)));
    }
    let delivery = client.publish("a", "x").qos(1).enqueue().await.unwrap();
    assert!(
        poll_some(client.flush(Duration::from_secs(9)), 3)
            .await
            .is_none()
    );
    let Some(Sent::Publish { id: Some(id), .. }) = server.next().await else {
        panic!("PUBLISH");
    };
    server.puback(id, martlet_client::ReasonCode::Success).await;
    drop(delivery);
    client.flush(Duration::from_secs(9)).await.unwrap();
    let unfinished = client.publish("a", "y").qos(1).enqueue().await.unwrap();
    let left = client.flush(Duration::from_secs(9)).await.unwrap_err();
    assert_eq!((left.queued, left.in_flight), (0, 1));
    drop(unfinished);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_still_closes_when_all_is_sent() {
    let (transport, mut servers) = pipe(Version::V5);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .start()
        .unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    drop(client.publish("a", "x").qos(1).enqueue().await.unwrap());
    assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
    assert!(
        poll_some(client.close(Duration::from_secs(9)), 3)
            .await
            .is_none()
    );
    let late = client.publish("a", "y").qos(1).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Closed);
    server.puback(1, martlet_client::ReasonCode::Success).await;
    assert_eq!(server.next().await, Some(Sent::Disconnect));
    // And one whose time runs out closes, too.
    let (transport, mut servers) = pipe(Version::V5);
    let client = Client::builder("mqtt://x")
        .transport(transport)
        .start()
        .unwrap();
    let mut server = servers.recv().await.unwrap();
    server.accept(false).await;
    let delivery = client.publish("a", "x").qos(1).enqueue().await.unwrap();
    let left = client.close(Duration::from_secs(9)).await.unwrap_err();
    assert_eq!(left.in_flight, 1);
    assert_eq!(delivery.await.unwrap_err().kind, ErrorKind::Closed);
    assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
    assert_eq!(server.next().await, Some(Sent::Disconnect));
    assert_eq!(server.next().await, None);
}

#[tokio::test]
async fn must_have_10_futures_dropped_at_random_leak_nothing() {
    both(async |builder, _| {
        let outbox = Outbox::memory().max_messages(20);
        let session = Session::fresh(Duration::from_secs(600));
        let client = builder
            .client_id("me")
            .session(session)
            .outbox(outbox)
            .max_in_flight(5)
            .connect()
            .await
            .unwrap();
        let mut kept = client.subscribe("load/#").qos(2).await.unwrap();
        let mut random = 1_u64;
        let mut below = move |limit: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from((random >> 33) % limit).unwrap()
        };
        for n in 0..3_000_u32 {
            let polls = below(5);
            let qos = u8::try_from(below(3)).unwrap();
            match below(8) {
                0..=2 => {
                    let publish = client.publish("load/a", n).qos(qos);
                    drop(poll_some(publish.into_future(), polls).await);
                }
                3 => {
                    let enqueue = client.publish("load/b", n).qos(qos).enqueue();
                    let delivery = poll_some(enqueue, polls).await;
                    if let Some(Ok(delivery)) = delivery {
                        drop(poll_some(delivery, below(3)).await);
                    }
                }
                4 => {
                    drop(poll_some(client.subscribe("load/a").qos(qos).into_future(), polls).await);
                }
                5 => drop(poll_some(kept.recv(), polls).await),
                6 => drop(poll_some(client.flush(Duration::from_secs(9)), polls).await),
                _ => {
                    let ask = client
                        .request("load/none", n)
                        .timeout(Duration::from_secs(9));
                    drop(poll_some(ask.into_future(), polls).await);
                }
            }
        }
        // The application goes on reading, or the window would never empty.
        let reading = async { while kept.recv().await.is_some() {} };
        let flushed = client.flush(Duration::from_secs(60));
        tokio::select! {
            () = reading => panic!("the stream has ended"),
            flushed = flushed => flushed.unwrap(),
        }
        while kept.try_recv().is_some() {}
        let stats = client.stats();
        assert_eq!((stats.queued, stats.in_flight), (0, 0));
        assert_eq!(client.pending_operations(), 0, "no slot is leaked");
        client
            .publish("load/a", "still alive")
            .qos(2)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_driver_of_ones_own_ends_with_the_client_and_dropped_early_fails_everything() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let (client, driver) = builder.build().unwrap();
        let running = tokio::spawn(driver);
        client.publish("a", "b").qos(1).await.unwrap();
        client.close(Duration::from_secs(5)).await.unwrap();
        running.await.unwrap();
        let builder = Client::builder(broker.url()).version(version);
        let (client, driver) = builder.build().unwrap();
        let delivery = client.publish("a", "b").qos(1).enqueue().await.unwrap();
        drop(driver);
        let error = delivery.await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Closed);
        assert_eq!(error.message.text(), "b");
    })
    .await;
}

fn is_send_and_static<T: Send + 'static>(_: &T) {}

#[test]
fn handles_and_futures_can_go_anywhere() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Client>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let client = Client::builder("mqtt://127.0.0.1:1").start().unwrap();
    is_send_and_static(&client.publish("a", "b").into_future());
    is_send_and_static(&client.subscribe("a").into_future());
    is_send_and_static(&client.request("a", "b").into_future());
    let client = Arc::new(client);
    is_send_and_static(&async move { client.publish("a", "b").await.is_ok() });
}
