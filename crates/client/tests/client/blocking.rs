//! The facade for programs without async.

use std::time::Duration;

use martlet_client::blocking::{self, Wait};
use martlet_client::test::Broker;
use martlet_client::{Client, ErrorKind};

fn talk(url: &str) {
    let client = blocking::connect(Client::builder(url)).unwrap();
    let mut sub = client.subscribe("a").qos(1).wait().unwrap();
    let late = blocking::recv_timeout(&mut sub, Duration::from_millis(1)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    for n in 0..100 {
        client.publish("a", n).qos(1).wait().unwrap();
    }
    let values: Vec<String> = blocking::messages(&mut sub)
        .take(100)
        .map(|message| message.text().into_owned())
        .collect();
    assert_eq!(values.last().unwrap(), "99");
    client.flush(Duration::from_secs(5)).wait().unwrap();
    let none = client
        .request("nobody", "")
        .timeout(Duration::from_millis(10));
    assert_eq!(none.wait().unwrap_err().kind(), ErrorKind::Timeout);
    client.close(Duration::from_secs(5)).wait().unwrap();
    assert!(blocking::messages(&mut sub).next().is_none());
}

#[test]
fn it_works_without_a_runtime() {
    let broker = Broker::start().wait().unwrap();
    talk(&broker.url());
    let client = blocking::start(Client::builder(broker.url())).unwrap();
    client.publish("a", "b").qos(1).wait().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let client = client.clone();
            std::thread::spawn(move || client.publish("a", n).qos(2).wait().unwrap())
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn it_works_inside_a_runtime() {
    let broker = Broker::start().await.unwrap();
    // It blocks this thread, and still the clients go on: they live elsewhere.
    talk(&broker.url());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_inside_a_runtime_of_many_threads() {
    let broker = Broker::start().await.unwrap();
    let url = broker.url();
    tokio::task::spawn_blocking(move || talk(&url))
        .await
        .unwrap();
}
