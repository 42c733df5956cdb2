//! The first things that a client does, against our broker.

use std::time::Duration;

use martlet_broker::{Broker, RunningBroker};
use martlet_client::{Builder, Client, ErrorKind, State};

fn broker() -> (RunningBroker, String) {
    let broker = Broker::builder()
        .listen("127.0.0.1:0")
        .shards(1)
        .start()
        .unwrap();
    let url = format!("mqtt://{}", broker.local_addrs()[0]);
    (broker, url)
}

async fn both(run: impl AsyncFn(Builder)) {
    let (_broker, url) = broker();
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, run(Client::builder(&url).v5()))
        .await
        .unwrap();
    tokio::time::timeout(limit, run(Client::builder(&url).v311()))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_published_is_received() {
    both(async |builder| {
        let client = builder.connect().await.unwrap();
        let mut sub = client.subscribe("a/+").qos(2).await.unwrap();
        for qos in 0..3 {
            client.publish("a/b", qos).qos(qos).await.unwrap();
            let message = sub.recv().await.unwrap();
            assert_eq!(message.topic, "a/b");
            assert_eq!(message.text(), qos.to_string());
        }
        client.close(Duration::from_secs(5)).await.unwrap();
        assert!(sub.recv().await.is_none());
        let late = client.publish("a", "b").await.unwrap_err();
        assert_eq!(late.kind, ErrorKind::Closed);
    })
    .await;
}

#[tokio::test]
async fn a_client_waits_for_its_server() {
    let (broker, url) = broker();
    let address = broker.local_addrs()[0].to_string();
    drop(broker);
    let client = Client::builder(&url).start().unwrap();
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
    let delivery = client.publish("a", "b").qos(1).enqueue().await.unwrap();
    let _broker = Broker::builder().listen(address).shards(1).start().unwrap();
    delivery.await.unwrap();
    assert!(client.state().borrow().is_connected());
    let refused = Client::builder("mqtt://127.0.0.1:1")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
}
