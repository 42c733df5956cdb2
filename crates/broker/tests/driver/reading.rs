//! Packets come in pieces of any size.

use std::net::Shutdown;

use crate::client::{Client, broker, connect_v3, publish, subscribe, total};

/// Everything one client may say, from CONNECT on, in one run of bytes; and what it must get back.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let mut said = connect_v3("torn");
    said.extend(subscribe(1, "t"));
    let mut expected = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00".to_vec();
    // Around the sizes at which the driver does something else: the tail that is put into the scratch buffer,
    // the read budget, the scratch buffer itself.
    for size in [0, 1, 200, 4_090, 4_200, 70_000, 300_000, 3] {
        let payload: Vec<u8> = (0..=250).cycle().take(size).collect();
        let publish = publish("t", &payload);
        said.extend(&publish);
        expected.extend(&publish);
    }
    said.extend(b"\xc0\x00");
    expected.extend(b"\xd0\x00");
    (said, expected)
}

#[test]
fn packets_torn_at_every_step_size_arrive_whole() {
    for shards in [1, 2] {
        let broker = broker(shards);
        for step in [7, 1_000, 4_096, 33_333, 1_000_000] {
            let (said, expected) = conversation();
            let client = Client::open(broker.local_addrs()[0]);
            let mut writer = Client(client.0.try_clone().unwrap());
            let mut reader = client;
            let writing = std::thread::spawn(move || {
                // Tiny steps for the tiny packets only, the whole 370 KB would take a while.
                let (first, rest) = said.split_at(300.min(said.len()));
                first
                    .chunks(step.min(11))
                    .for_each(|part| writer.send(part));
                rest.chunks(step.max(500))
                    .for_each(|part| writer.send(part));
            });
            reader.expect(&expected);
            writing.join().unwrap();
        }
        assert!(total(&broker, |shard| shard.driver.tails_kept) > 0);
        assert!(total(&broker, |shard| shard.driver.reads_cut) > 0);
    }
}

#[test]
fn a_client_that_only_shuts_its_write_side_still_gets_its_answers() {
    let broker = broker(1);
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&[connect_v3("half"), b"\xc0\x00".to_vec()].concat());
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect(b"\x20\x02\x00\x00\xd0\x00");
    assert_eq!(client.packet(), None);
}

#[test]
fn an_emptied_socket_is_not_read_again_to_find_out() {
    let broker = broker(1);
    let mut client = Client::v3(&broker, "counted");
    let before = total(&broker, |shard| shard.driver.reads);
    for _ in 0..100 {
        client.ping();
    }
    let reads = total(&broker, |shard| shard.driver.reads) - before;
    assert_eq!(reads, 100);
}

/// Optimisation: what is behind the first read of a large packet goes straight to where the packet is put together, which is
/// moved a few times at most, and where it stays: outboxes go on using that memory, and then the next packet.
#[test]
fn a_large_packet_is_read_in_place() {
    let broker = broker(1);
    let mut client = Client::v3(&broker, "large");
    client.send(&[publish("t", &vec![7; 1_000_000]), b"\xc0\x00".to_vec()].concat());
    client.expect(b"\xd0\x00");
    // 64 KiB first, then up to 256 KiB each.
    assert!(total(&broker, |shard| shard.driver.reads_in_place) >= 4);
    let grown = total(&broker, |shard| shard.driver.tails_grown);
    // The first read brings 64 KiB, or whatever had come by then; from there to all of it it is a few times five.
    assert!((1..=5).contains(&grown), "{grown}");
    // The next one finds the memory of this one.
    assert!(total(&broker, |shard| shard.driver.spare_bytes_max) > 1_000_000);
}
