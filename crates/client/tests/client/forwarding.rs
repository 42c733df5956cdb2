//! The task that other clients hang in: for each message received, publish one and wait for it.

use std::time::Duration;

use martlet_client::{Builder, Outbox};

use crate::both;

fn tiny(builder: Builder) -> Builder {
    let outbox = Outbox::memory().max_messages(1);
    builder.outbox(outbox).max_in_flight(1).receive_maximum(1)
}

#[tokio::test]
async fn must_have_3_forwarding_one_for_one_with_every_buffer_at_one_does_not_deadlock() {
    const COUNT: u32 = 50_000;
    // Twice: 100,000 messages in all.
    both(async |builder, broker| {
        let version = builder.spoken_version();
        let other = martlet_client::Client::builder(broker.url()).version(version);
        let forwarder = tiny(builder).connect().await.unwrap();
        let source = other.connect().await.unwrap();
        let mut input = forwarder.subscribe("in").qos(1).buffer(1).await.unwrap();
        let mut output = source.subscribe("out").qos(1).await.unwrap();
        let forward = async {
            for _ in 0..COUNT {
                let message = input.recv().await.unwrap();
                forwarder.publish_message(message.to("out")).await.unwrap();
            }
        };
        // A broker's queues are bounded, too.
        let room = tokio::sync::Semaphore::new(500);
        let feed = async {
            for n in 0..COUNT {
                room.acquire().await.unwrap().forget();
                drop(source.publish("in", n).qos(1).enqueue().await.unwrap());
            }
        };
        let drain = async {
            for n in 0..COUNT {
                assert_eq!(output.recv().await.unwrap().text(), n.to_string());
                room.add_permits(1);
            }
        };
        tokio::join!(forward, feed, drain);
        for client in [forwarder, source] {
            client.flush(Duration::from_secs(10)).await.unwrap();
            let stats = client.stats();
            assert_eq!(
                (stats.queued, stats.in_flight, stats.unacknowledged),
                (0, 0, 0)
            );
        }
    })
    .await;
}
