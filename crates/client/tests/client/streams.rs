//! Subscriptions from the application's side.

use std::time::Duration;

use martlet_client::{ErrorKind, Filter, Overflow, QoS, ReasonCode, Session};

use crate::both;

#[tokio::test]
async fn must_have_9_overlapping_streams_get_each_message_once() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        let mut wide = client.subscribe("a/#").qos(1).await.unwrap();
        let mut narrow = client.subscribe("a/b").qos(2).await.unwrap();
        for n in 0..100 {
            client.publish("a/b", n).qos(2).await.unwrap();
        }
        client.publish("a/end", "end").qos(2).await.unwrap();
        for n in 0..100 {
            assert_eq!(wide.recv().await.unwrap().text(), n.to_string());
            assert_eq!(narrow.recv().await.unwrap().text(), n.to_string());
        }
        assert_eq!(wide.recv().await.unwrap().text(), "end");
        assert!(narrow.try_recv().is_none());
        assert_eq!(narrow.granted(), [Ok(QoS::ExactlyOnce)]);
    })
    .await;
}

#[tokio::test]
async fn must_have_9_a_dropped_stream_is_unsubscribed() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        drop(client.subscribe("a").qos(1).await.unwrap());
        // The server answers in order, so the UNSUBSCRIBE is over when this is.
        client.publish("a", "1").qos(1).await.unwrap();
        let stats = client.stats();
        assert_eq!((stats.received, stats.unrouted), (0, 0));
        let sub = client.subscribe("a").await.unwrap();
        sub.unsubscribe().await.unwrap();
        client.publish("a", "1").qos(1).await.unwrap();
        assert_eq!(client.stats().received, 0);
    })
    .await;
}

#[tokio::test]
async fn several_filters_with_their_own_options_make_one_stream() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        let filters = [Filter::new("a").qos(2), Filter::new("b")];
        let mut sub = client.subscribe_many(filters).await.unwrap();
        assert_eq!(sub.granted(), [Ok(QoS::ExactlyOnce), Ok(QoS::AtMostOnce)]);
        client.publish("a", "1").qos(2).await.unwrap();
        client.publish("b", "2").qos(2).await.unwrap();
        assert_eq!(sub.recv().await.unwrap().qos, QoS::ExactlyOnce);
        assert_eq!(sub.recv().await.unwrap().qos, QoS::AtMostOnce);
        let wrong = client.subscribe("a/#/b").await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidTopic);
        let none: [&str; 0] = [];
        let wrong = client.subscribe_many(none).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidOption);
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_of_qos_0_loses_the_oldest_and_is_told_how_many() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        let mut sub = client.subscribe("a").buffer(10).await.unwrap();
        let mut latest = client
            .subscribe("b/#")
            .overflow(Overflow::LatestPerTopic)
            .await
            .unwrap();
        for n in 0..100 {
            client.publish("a", n).await.unwrap();
            client.publish(format!("b/{}", n % 3), n).await.unwrap();
        }
        // QoS 0 has no acknowledgement; this one comes behind.
        let mut end = client.subscribe("end").qos(1).await.unwrap();
        client.publish("end", "").qos(1).await.unwrap();
        end.recv().await.unwrap();
        assert_eq!(sub.lagged(), 90);
        assert_eq!(sub.recv().await.unwrap().text(), "90");
        let values: Vec<String> = std::iter::from_fn(|| latest.try_recv())
            .map(|message| message.text().into_owned())
            .collect();
        assert_eq!(values, ["97", "98", "99"]);
    })
    .await;
}

#[tokio::test]
async fn manual_acknowledgements_wait_for_the_work_to_be_done() {
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let session = Session::persistent(Duration::from_secs(600));
        let client = builder
            .client_id("worker")
            .session(session)
            .connect()
            .await
            .unwrap();
        let mut sub = client.subscribe("jobs").qos(1).manual_ack().await.unwrap();
        for n in 0..3 {
            client.publish("jobs", n).qos(1).await.unwrap();
        }
        sub.recv().await.unwrap().ack();
        let mut second = sub.recv().await.unwrap();
        let token = second.take_ack().unwrap();
        assert!(second.take_ack().is_none());
        tokio::spawn(async move { token.ack() }).await.unwrap();
        drop(sub.recv().await.unwrap());
        assert_eq!(client.stats().unacked_dropped, 1);
        sub.detach();
        client.close(Duration::from_secs(5)).await.unwrap();
        // The third one was not acknowledged, so the next run of the program gets it.
        let client = martlet_client::Client::builder(broker.url())
            .version(version)
            .client_id("worker")
            .session(session)
            .connect()
            .await
            .unwrap();
        let mut sub = client.subscribe("jobs").qos(1).manual_ack().await.unwrap();
        let again = sub.recv().await.unwrap();
        assert_eq!(again.text(), "2");
        assert!(again.duplicate);
        again.reject(ReasonCode::UnspecifiedError);
        assert!(sub.try_recv().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_a_stream() {
    both(async |builder, _| {
        use futures_core::Stream;
        let client = builder.connect().await.unwrap();
        let mut sub = client.subscribe("a").await.unwrap();
        client.publish("a", "x").await.unwrap();
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut sub).poll_next(cx)).await;
        assert_eq!(next.unwrap().payload, "x");
    })
    .await;
}

/// Both sides use aliases by themselves: more topics than the broker gives aliases to, and each message comes under its own.
#[tokio::test]
async fn p1_topic_aliases_are_automatic_save_bytes_and_mix_nothing_up() {
    let broker = martlet_client::test::Broker::start().await.unwrap();
    let mut sent = Vec::new();
    for aliases in [0, 64] {
        let builder = martlet_client::Client::builder(broker.url());
        let builder = builder.topic_aliases(aliases, aliases);
        let client = builder.connect().await.unwrap();
        let mut sub = client.subscribe("plant/#").qos(1).await.unwrap();
        for n in 0..400 {
            // Eight are used a lot, 40 others now and then.
            let line = if n % 10 == 9 { n } else { n % 8 };
            let topic = format!("plant/hall/with/a/long/name/line/{line}/temperature");
            client.publish(&topic, n).qos(n % 3).await.unwrap();
            let message = sub.recv().await.unwrap();
            assert_eq!(
                (message.topic.as_str(), message.text()),
                (&*topic, n.to_string().into())
            );
        }
        sent.push(client.stats());
        client.close(Duration::from_secs(5)).await.unwrap();
    }
    let [plain, aliased] = [&sent[0], &sent[1]];
    assert!(3 * aliased.bytes_sent < 2 * plain.bytes_sent, "{sent:?}");
    assert!(
        2 * aliased.bytes_received < plain.bytes_received,
        "{sent:?}"
    );
}
