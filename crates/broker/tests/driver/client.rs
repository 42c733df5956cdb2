//! A client of raw bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use martlet_broker::{Broker, Builder, RunningBroker, ShardReport};

/// A builder for a broker on a free port.
pub(crate) fn builder(shards: usize) -> Builder {
    Broker::builder().listen("127.0.0.1:0").shards(shards)
}

/// A broker on a free port.
pub(crate) fn broker(shards: usize) -> RunningBroker {
    builder(shards).start().unwrap()
}

/// The sum of something over all shards.
pub(crate) fn total(broker: &RunningBroker, of: impl Fn(&ShardReport) -> u64) -> u64 {
    broker.reports().iter().map(of).sum()
}

/// One connection; a step that takes longer than ten seconds fails.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// Opens a connection and sends nothing.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// A connected client of MQTT 3.1.1 with Clean Session.
    pub(crate) fn v3(broker: &RunningBroker, id: &str) -> Self {
        let mut client = Self::open(broker.local_addrs()[0]);
        client.send(&connect_v3(id));
        client.expect(b"\x20\x02\x00\x00");
        client
    }

    /// A connected client of MQTT 5 with Clean Start.
    pub(crate) fn v5(broker: &RunningBroker, id: &str) -> Self {
        let mut client = Self::open(broker.local_addrs()[0]);
        client.send(&connect_v5(id));
        let connack = client.packet().unwrap();
        assert_eq!(connack[0], 0x20);
        assert_eq!(connack[3], 0, "accepted");
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.0.read_exact(&mut got).unwrap();
        assert!(got == bytes, "expected {bytes:02x?}, got {got:02x?}");
    }

    /// Subscribes at QoS 0 and waits for SUBACK.
    pub(crate) fn subscribe(&mut self, filter: &str) {
        self.send(&subscribe(1, filter));
        self.expect(b"\x90\x03\x00\x01\x00");
    }

    /// PINGREQ, PINGRESP: everything sent before has been dealt with.
    pub(crate) fn ping(&mut self) {
        self.send(b"\xc0\x00");
        self.expect(b"\xd0\x00");
    }

    /// The next packet; `None` at the orderly end of the connection. A reset is a failure.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0];
        match self.0.read(&mut packet) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.0.read_exact(&mut packet[start..]).unwrap();
        Some(packet)
    }

    /// Waits until the connection has ended, one way or the other.
    pub(crate) fn wait_for_end(&mut self) {
        let mut buffer = [0; 4_096];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub(crate) fn connect_v3(id: &str) -> Vec<u8> {
    packet(
        0x10,
        &[b"\x00\x04MQTT\x04\x02\x00\x00".to_vec(), text(id)].concat(),
    )
}

pub(crate) fn connect_v5(id: &str) -> Vec<u8> {
    packet(
        0x10,
        &[b"\x00\x04MQTT\x05\x02\x00\x00\x00".to_vec(), text(id)].concat(),
    )
}

pub(crate) fn subscribe(packet_id: u16, filter: &str) -> Vec<u8> {
    packet(
        0x82,
        &[packet_id.to_be_bytes().to_vec(), text(filter), vec![0]].concat(),
    )
}

pub(crate) fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text(topic), payload].concat())
}
