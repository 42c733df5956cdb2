//! A program that was written for aimeqtt, in the shape of teleinfo2mqtt: only the name of the crate was given a new
//! meaning. It survives a restart of its broker.

use std::time::Duration;

// What the line in Cargo.toml does.
use martlet_client as aimeqtt;

use aimeqtt::client::{Client, ClientError};

async fn publish_frame(client: &Client, meter: &str, value: u32) -> Result<(), ClientError> {
    client
        .publish(format!("teleinfo/{meter}"), value.to_string())
        .await
}

#[tokio::test]
async fn a_program_for_aimeqtt_survives_a_restart_of_its_broker() {
    let mut broker = aimeqtt::test::Broker::start().await.unwrap();
    let url = aimeqtt::Url::parse(&broker.url()).unwrap();
    let aimeqtt::Target::Tcp { host, port } = url.target else {
        unreachable!("a broker on a port");
    };
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let options = aimeqtt::client::ClientOptions::new()
        .with_broker_host(host)
        .with_broker_port(port)
        .with_keep_alive(60)
        .with_callback_handler(move |payload| sender.send(payload).unwrap());
    let options = options.with_credentials("user".to_owned(), "password".to_owned());
    let mut client: Client = aimeqtt::client::new(options).await;
    client.subscribe("teleinfo/+".to_owned()).unwrap();
    assert!(client.subscribe("a/#/b".to_owned()).is_err());
    // What is published before there is a connection waits for it, behind the subscription.
    for value in 0..20 {
        publish_frame(&client, "012345", value).await.unwrap();
    }
    for value in 0..20 {
        assert_eq!(received.recv().await.unwrap(), value.to_string());
    }
    broker.stop().await;
    let mut value = 100;
    // While the broker is away, publishing neither fails nor stops the program.
    let offline = async {
        loop {
            publish_frame(&client, "012345", value).await.ok();
            value += 1;
            if value == 200 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), offline)
        .await
        .unwrap();
    broker.restart().await.unwrap();
    // The last one, at least, was published without a connection.
    while received.recv().await.unwrap() != "199" {}
    publish_frame(&client, "012345", 1_000).await.unwrap();
    assert_eq!(received.recv().await.unwrap(), "1000");
}

fn callback(_payload: String) {}

#[test]
fn a_function_is_a_callback_too() {
    let options = aimeqtt::client::ClientOptions::new().with_callback_handler(callback);
    assert!(!format!("{options:?}").contains("password"));
}
