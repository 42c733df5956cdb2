//! Servers that pretend to be a broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// What a stub does with the bytes of one packet: answers, or closes.
pub(super) type Answer = fn(&[u8]) -> Option<Vec<u8>>;

/// Starts a server that treats every connection by `answer`, until the test process ends.
pub(super) fn start(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

/// Cuts the stream into packets by their remaining length, whatever is in them.
fn serve(mut stream: TcpStream, answer: Answer) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..count]);
        while let Some(length) = first_packet(&buffer) {
            let packet: Vec<u8> = buffer.drain(..length).collect();
            match answer(&packet) {
                Some(bytes) if stream.write_all(&bytes).is_ok() => {}
                _ => return,
            }
        }
    }
}

fn first_packet(buffer: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let whole = index + 2 + length;
            return (buffer.len() >= whole).then_some(whole);
        }
    }
    None
}

/// Agrees to everything, checks nothing, remembers nothing and delivers nothing. Version 5.
pub(super) fn yes_man(packet: &[u8]) -> Option<Vec<u8>> {
    let (header, body) =
        packet.split_at(1 + packet[1..].iter().take_while(|b| *b & 0x80 != 0).count() + 1);
    let id = |at: usize| body.get(at..at + 2).unwrap_or(&[0, 1]).to_vec();
    let with = |head: &[u8], id: Vec<u8>, tail: &[u8]| Some([head, &id, tail].concat());
    let topic_length = usize::from(*body.get(1).unwrap_or(&0));
    match header[0] >> 4 {
        1 => Some(vec![0x20, 3, 0, 0, 0]),
        3 => match (header[0] >> 1) & 3 {
            1 => with(&[0x40, 2], id(2 + topic_length), &[]),
            2 => with(&[0x50, 2], id(2 + topic_length), &[]),
            _ => Some(Vec::new()),
        },
        5 => with(&[0x62, 2], id(0), &[]),
        6 => with(&[0x70, 2], id(0), &[]),
        8 => with(&[0x90, 4], id(0), &[0, 0]),
        10 => with(&[0xB0, 4], id(0), &[0, 0]),
        12 => Some(vec![0xD0, 0]),
        14 => None,
        _ => Some(Vec::new()),
    }
}
