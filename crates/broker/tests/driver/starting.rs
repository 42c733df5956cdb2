//! Starting: from anywhere, and with clear refusals.

use martlet_broker::{Broker, StartError};

use crate::client::{Client, broker, builder, connect_v3};

#[test]
fn a_taken_port_is_refused_with_a_remedy() {
    let first = broker(1);
    let address = first.local_addrs()[0];
    let error = Broker::builder()
        .listen(address.to_string())
        .start()
        .unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {address}: ")),
        "{text}"
    );
    assert!(
        text.ends_with("another program listens there: stop it, or choose another port"),
        "{text}"
    );
}

#[test]
fn nothing_is_left_running_when_one_of_two_listeners_fails() {
    let taken = broker(1).local_addrs()[0];
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let blocked = other.local_addr().unwrap();
    let both = Broker::builder()
        .listen(taken.to_string())
        .listen(blocked.to_string());
    assert!(both.start().is_err());
    assert!(std::net::TcpStream::connect(taken).is_err());
}

#[test]
fn an_address_for_everybody_needs_an_explicit_word() {
    let error = Broker::builder().listen("0.0.0.0:0").start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "0.0.0.0:0 can be reached from other machines, and there is no authentication; set an authenticator, \
         say allow_anonymous, or listen on a loopback address"
    );
    let broker = Broker::builder()
        .listen("0.0.0.0:0")
        .allow_anonymous()
        .shards(1)
        .start()
        .unwrap();
    let mut address = broker.local_addrs()[0];
    address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    let mut client = Client::open(address);
    client.send(&connect_v3("x"));
    client.expect(b"\x20\x02\x00\x00");
}

#[test]
fn wrong_addresses_and_shard_counts_are_refused() {
    let error = Broker::builder().listen("nowhere").start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "'nowhere' is no address to listen on; write an IP address and a port, as 127.0.0.1:1883"
    );
    for count in [0, 65] {
        let error = builder(count).start().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a broker has 1 to 64 shards, not {count}")
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_broker_starts_and_stops_within_an_async_runtime() {
    let broker = broker(2);
    Client::v3(&broker, "x").ping();
    broker.shutdown();
}

#[test]
fn several_listeners_lead_to_the_same_sessions() {
    let broker = builder(2)
        .listen("127.0.0.1:0")
        .listen("[::1]:0")
        .start()
        .unwrap();
    assert_eq!(broker.local_addrs().len(), 3);
    let mut subscriber = Client::v3(&broker, "s");
    subscriber.subscribe("t");
    for address in &broker.local_addrs()[1..] {
        let mut client = Client::open(*address);
        client.send(&connect_v3("p"));
        client.expect(b"\x20\x02\x00\x00");
        client.send(b"\x30\x04\x00\x01tx");
        subscriber.expect(b"\x30\x04\x00\x01tx");
    }
}
