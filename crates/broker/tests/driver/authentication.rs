//! Authenticators: asked elsewhere, answered by ticket.

use std::sync::mpsc::{Sender, channel};

use martlet_broker::{Answer, AuthKind, AuthQuestion, Authenticator, Limits, ReasonCode, Verdict};

use crate::client::{Client, builder, connect_v3, connect_v5, packet, text, total};

/// A toy method of two steps: the server says a number, the client says the next one.
struct Successor;

impl Authenticator for Successor {
    fn question(&self, question: AuthQuestion, answer: Answer) {
        let verdict = match (
            question.kind,
            question.method.as_deref(),
            question.data.as_deref(),
        ) {
            (AuthKind::Connect, Some("successor"), _) => Verdict::Challenge {
                data: Some(Box::from([41].as_slice())),
            },
            (AuthKind::Continue, _, Some([42])) => Verdict::Accept {
                data: Some(Box::from(b"welcome".as_slice())),
            },
            (AuthKind::Connect, None, _) => match question.user_name.as_deref() {
                Some("ann") => Verdict::Accept { data: None },
                // Forgets to answer: counts as a refusal.
                Some("lost") => return drop(answer),
                Some("panic") => panic!("a backend with a bug"),
                _ => Verdict::Refuse {
                    reason: ReasonCode::NotAuthorized,
                },
            },
            _ => Verdict::Refuse {
                reason: ReasonCode::NotAuthorized,
            },
        };
        // From another thread, as a real backend would.
        std::thread::spawn(move || answer.give(verdict));
    }
}

fn connect_with_method(id: &str) -> Vec<u8> {
    let mut properties = vec![0x15];
    properties.extend(text("successor"));
    let mut body = b"\x00\x04MQTT\x05\x02\x00\x00".to_vec();
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend(properties);
    body.extend(text(id));
    packet(0x10, &body)
}

fn auth(reason: u8, data: &[u8]) -> Vec<u8> {
    let mut properties = vec![0x15];
    properties.extend(text("successor"));
    properties.push(0x16);
    properties.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    properties.extend(data);
    let mut body = vec![reason, u8::try_from(properties.len()).unwrap()];
    body.extend(properties);
    packet(0xf0, &body)
}

fn connect_with_user(user: &str) -> Vec<u8> {
    let mut connect = connect_v3("who");
    connect[9] |= 0x80;
    connect.extend(text(user));
    connect[1] = u8::try_from(connect.len() - 2).unwrap();
    connect
}

#[test]
fn a_challenge_of_two_steps_lets_the_client_in() {
    let broker = builder(2).authenticator(Successor).start().unwrap();
    for id in ["a", "b", "c", "d"] {
        let mut client = Client::open(broker.local_addrs()[0]);
        client.send(&connect_with_method(id));
        assert_eq!(client.packet().unwrap(), auth(0x18, &[41]));
        client.send(&auth(0x18, &[42]));
        let connack = client.packet().unwrap();
        assert_eq!((connack[0], connack[3]), (0x20, 0x00), "{connack:02x?}");
        assert!(connack.windows(7).any(|part| part == b"welcome"));
        client.ping();
    }
}

#[test]
fn a_wrong_answer_is_refused() {
    let broker = builder(2).authenticator(Successor).start().unwrap();
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&connect_with_method("a"));
    client.packet().unwrap();
    client.send(&auth(0x18, &[7]));
    let connack = client.packet().unwrap();
    assert_eq!((connack[0], connack[3]), (0x20, 0x87), "not authorized");
    assert_eq!(client.packet(), None);
}

#[test]
fn a_parked_client_loses_nothing_that_it_sent_meanwhile() {
    let broker = builder(2).authenticator(Successor).start().unwrap();
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&[connect_with_user("ann"), b"\xc0\x00\xc0\x00".to_vec()].concat());
    client.expect(b"\x20\x02\x00\x00\xd0\x00\xd0\x00");
}

#[test]
fn an_unanswered_question_and_a_panic_refuse_one_client_only() {
    let broker = builder(1).authenticator(Successor).start().unwrap();
    for user in ["lost", "panic", "bob"] {
        let mut client = Client::open(broker.local_addrs()[0]);
        client.send(&connect_with_user(user));
        let connack = client.packet().unwrap();
        assert_eq!(connack[0], 0x20);
        assert_ne!(connack[3], 0, "{user}");
        assert_eq!(client.packet(), None);
    }
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&connect_with_user("ann"));
    client.expect(b"\x20\x02\x00\x00");
}

/// Puts off every answer until somebody asks it to give them.
struct Slow(Sender<Answer>);

impl Authenticator for Slow {
    fn question(&self, _: AuthQuestion, answer: Answer) {
        self.0.send(answer).unwrap();
    }
}

#[test]
fn a_slow_authenticator_is_not_reported_as_a_missing_connect() {
    let limits = Limits {
        authentication_timeout_ms: 100,
        ..Limits::default()
    };
    let (sender, answers) = channel();
    let broker = builder(2)
        .limits(limits)
        .authenticator(Slow(sender))
        .start()
        .unwrap();
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&connect_v5("slow"));
    client.expect(&[0x20, 3, 0, 0x88, 0]);
    assert_eq!(client.packet(), None);
    let count =
        |of: fn(&martlet_broker::Counters) -> u64| total(&broker, |shard| of(&shard.engine));
    assert_eq!(count(|counters| counters.closed_authenticator_timeout), 1);
    assert_eq!(count(|counters| counters.closed_connect_timeout), 0);
    // Too late: nobody is there any more.
    answers.recv().unwrap().give(Verdict::Accept { data: None });
    assert_eq!(total(&broker, |shard| shard.sessions as u64), 0);
}
