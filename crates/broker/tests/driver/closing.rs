//! The last packet arrives; ends are orderly and bounded.

use std::time::{Duration, Instant};

use crate::client::{Client, broker, builder, connect_v3, connect_v5, publish, total};

/// Closing a socket with unread bytes sends a reset, which would destroy the DISCONNECT on its way.
#[test]
fn the_farewell_arrives_although_more_bytes_follow_the_fault() {
    let broker = broker(2);
    for round in 0..20 {
        let mut client = Client::v5(&broker, &format!("faulty-{round}"));
        // SUBSCRIBE with wrong flags, then more than the broker reads at once, and less than it throws away.
        let mut bytes = vec![0x80, 0x00];
        bytes.extend(vec![0xff; 128 << 10]);
        client.send(&bytes);
        let farewell = client.packet().unwrap();
        assert_eq!(farewell[0], 0xe0);
        assert_eq!(farewell[2], 0x81, "malformed packet");
        assert_eq!(client.packet(), None, "closed in order, not reset");
    }
}

/// The home shard has not heard from the socket yet when it refuses the client.
#[test]
fn a_refusal_after_a_hand_over_arrives() {
    let broker = broker(2);
    for number in 0..40 {
        let mut client = Client::open(broker.local_addrs()[0]);
        client.send(&connect_v3(&format!("{number:0300}")));
        client.expect(b"\x20\x02\x00\x02");
        assert_eq!(client.packet(), None);
    }
    assert!(broker.reports()[0].driver.handovers > 0);
}

#[test]
fn a_closed_connection_that_goes_on_sending_is_cut() {
    let broker = broker(1);
    let mut client = Client::v3(&broker, "stubborn");
    client.send(b"\x80\x00");
    let start = Instant::now();
    client.wait_for_end();
    // It does not close its side; the broker does not wait for ever.
    while broker.reports()[0].connections > 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let cut = loop {
        if std::io::Write::write_all(&mut client.0, &[0; 1_024]).is_err() {
            break true;
        }
        if start.elapsed() > Duration::from_secs(10) {
            break false;
        }
    };
    assert!(cut);
    assert_eq!(broker.reports()[0].driver.lingering_cut, 1);
}

#[test]
fn a_taken_over_client_is_told() {
    let broker = broker(2);
    let mut first = Client::v5(&broker, "same");
    let mut second = Client::v5(&broker, "same");
    let farewell = first.packet().unwrap();
    assert_eq!(
        (farewell[0], farewell[2]),
        (0xe0, 0x8e),
        "session taken over"
    );
    assert_eq!(first.packet(), None);
    second.ping();
}

#[test]
fn a_stopping_broker_tells_its_clients_and_is_gone() {
    for shards in [1, 2, 4] {
        let broker = broker(shards);
        let address = broker.local_addrs()[0];
        let mut clients: Vec<Client> = (0..8)
            .map(|number| Client::v5(&broker, &format!("c{number}")))
            .collect();
        let mut silent = Client::open(address);
        // So that its CONNECT is on the way when the broker stops, or not: both are right.
        silent.send(&connect_v3("late"));
        let told = std::thread::spawn(move || {
            for client in &mut clients {
                let farewell = client.packet().unwrap();
                assert_eq!(
                    (farewell[0], farewell[2]),
                    (0xe0, 0x8b),
                    "server shutting down"
                );
                assert_eq!(client.packet(), None);
            }
        });
        let start = Instant::now();
        broker.shutdown();
        assert!(start.elapsed() < Duration::from_secs(5));
        told.join().unwrap();
        silent.wait_for_end();
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[test]
fn an_index_used_again_within_a_tick_does_not_mix_up_connections() {
    let broker = broker(1);
    let mut watcher = Client::v3(&broker, "watcher");
    watcher.subscribe("t");
    let mut open = Vec::new();
    for round in 0..300 {
        // Ends and beginnings interleaved as closely as one thread can.
        let mut ending = Client::open(broker.local_addrs()[0]);
        ending.send(&[connect_v5(&format!("e{round}")), b"\x80\x00".to_vec()].concat());
        let mut beginning = Client::open(broker.local_addrs()[0]);
        let id = format!("b{round}");
        beginning.send(&[connect_v3(&id), publish("t", id.as_bytes())].concat());
        watcher.expect(&publish("t", id.as_bytes()));
        beginning.expect(b"\x20\x02\x00\x00");
        assert_eq!(ending.packet().unwrap()[0], 0x20);
        assert_eq!(ending.packet().unwrap()[0], 0xe0);
        assert_eq!(ending.packet(), None);
        open.push(beginning);
    }
    open.iter_mut().for_each(Client::ping);
}

#[test]
fn beyond_the_connection_limit_clients_are_closed_and_room_is_reused() {
    let broker = builder(2).connections_max(3).start().unwrap();
    let mut clients: Vec<Client> = (0..3)
        .map(|number| Client::v3(&broker, &format!("c{number}")))
        .collect();
    let mut refused = Client::open(broker.local_addrs()[0]);
    refused.wait_for_end();
    assert_eq!(total(&broker, |shard| shard.driver.connections_refused), 1);
    clients.iter_mut().for_each(Client::ping);
    // DISCONNECT, and both ends closed: the place is free again.
    let mut leaving = clients.pop().unwrap();
    leaving.send(b"\xe0\x00");
    leaving.wait_for_end();
    drop(leaving);
    let start = Instant::now();
    loop {
        let mut client = Client::open(broker.local_addrs()[0]);
        let sent = std::io::Write::write_all(&mut client.0, &connect_v3("new"));
        let mut connack = [0; 4];
        if sent.is_ok() && std::io::Read::read_exact(&mut client.0, &mut connack).is_ok() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
