//! The first things that a client does, against our broker.

use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Client, ErrorKind, State};

use crate::both;

#[tokio::test]
async fn what_is_published_is_received() {
    both(async |builder, _| {
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
    let mut broker = Broker::start().await.unwrap();
    broker.stop().await;
    let client = Client::builder(broker.url()).start().unwrap();
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
    broker.restart().await.unwrap();
    delivery.await.unwrap();
    assert!(client.state().borrow().is_connected());
    let refused = Client::builder("mqtt://127.0.0.1:1")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
}

#[tokio::test]
async fn requests_get_their_answers() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        let server = client.clone();
        let serving = tokio::spawn(async move {
            let add = async |request: martlet_client::Message| {
                let text = request.text().into_owned();
                text.split('+')
                    .map(|part| part.parse::<i64>().unwrap())
                    .sum::<i64>()
            };
            server.serve("svc/add", add).await
        });
        // The service subscribes in its own time, so the first requests may find nobody.
        let answer = loop {
            let ask = client
                .request("svc/add", "1+2")
                .timeout(Duration::from_millis(200));
            if let Ok(answer) = ask.await {
                break answer;
            }
        };
        assert_eq!(answer.text(), "3");
        let silence = client
            .request("svc/none", "")
            .timeout(Duration::from_millis(1));
        assert_eq!(silence.await.unwrap_err().kind(), ErrorKind::Timeout);
        client.close(Duration::from_secs(5)).await.unwrap();
        serving.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_retained_set_is_complete_when_the_marker_comes() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        for i in 0..300 {
            let topic = format!("r/{i}");
            client.publish(topic, i).qos(1).retain().await.unwrap();
        }
        let hour = Duration::from_secs(3_600);
        let set = client.retained(["r/#"], hour).await.unwrap();
        assert_eq!(set.collect().await.len(), 300);
        let set = client.retained(["nothing/#"], hour).await.unwrap();
        assert_eq!(set.collect().await.len(), 0);
        let left = client.retained(["martlet/barrier/#"], hour).await.unwrap();
        assert_eq!(left.collect().await.len(), 0);
        client.close(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_retained_set_is_complete_though_the_filter_matches_the_marker() {
    both(async |builder, _| {
        let client = builder.connect().await.unwrap();
        for i in 0..100 {
            for level in ["a", "z"] {
                let topic = format!("{level}/{i}");
                client.publish(topic, i).qos(1).retain().await.unwrap();
            }
        }
        let hour = Duration::from_secs(3_600);
        for filters in [&["#"][..], &["#", "z/+"], &["martlet/#", "#", "+/+/+"]] {
            let set = client
                .retained(filters.iter().copied(), hour)
                .await
                .unwrap();
            let all = set.collect().await;
            let wanted = if filters.contains(&"z/+") { 300 } else { 200 };
            assert_eq!(all.len(), wanted, "{filters:?}");
        }
        client.close(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

/// A program that ends when `close` is ready has said good-bye: its will stays where it is.
#[test]
fn the_goodbye_is_written_when_close_is_ready() {
    for _ in 0..20 {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", server.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = vec![0; 1_000];
            assert!(stream.read(&mut bytes).unwrap() > 0);
            stream.write_all(b"\x20\x03\x00\x00\x00").unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        // One more worker than this thread, so that the driver runs beside us.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = Client::builder(&url).connect().await.unwrap();
            client.close(Duration::from_secs(5)).await.unwrap();
        });
        runtime.shutdown_background();
        assert_eq!(serving.join().unwrap(), b"\xe0\x00");
    }
}
