//! Messages that were sent together, beside the same messages sent one by one.

use alloc::collections::VecDeque;
use alloc::vec;

use super::*;

/// Several messages, or one: their numbers.
type Numbers = Vec<u32>;

fn pick(numbers: &Numbers, nth: usize) -> Option<Numbers> {
    (numbers.len() > 1).then(|| vec![numbers[nth]])
}

/// Two windows that get the same, one of them in runs.
struct Two {
    runs: Outbound<Numbers>,
    singles: Outbound<Numbers>,
    /// What is sent and not acknowledged.
    open: VecDeque<PacketId>,
    next: u32,
    together: usize,
}

impl Two {
    fn new(receive_maximum: u16) -> Self {
        let mut two = Self {
            runs: Outbound::default(),
            singles: Outbound::default(),
            open: VecDeque::new(),
            next: 0,
            together: 0,
        };
        two.start(receive_maximum);
        two
    }

    fn start(&mut self, receive_maximum: u16) {
        self.runs.take_apart(pick);
        for window in [&mut self.runs, &mut self.singles] {
            window.start_connection(receive_maximum);
        }
        loop {
            let [runs, singles] = [&mut self.runs, &mut self.singles].map(|window| {
                window.next_resend().map(|resend| match resend {
                    Resend::Publish(id, stage, numbers) => (id, Some((stage, numbers.clone()))),
                    Resend::PubRel(id) => (id, None),
                })
            });
            assert_eq!(runs, singles);
            if runs.is_none() {
                break;
            }
        }
        self.check();
    }

    fn send(&mut self, count: usize) {
        let numbers: Numbers = (self.next..).take(count).collect();
        if let Some(first) = self.runs.next_together(count) {
            self.together += 1;
            assert_eq!(self.runs.send_together(count, numbers.clone()), Some(first));
        } else {
            assert_eq!(self.runs.send_together(count, Vec::new()), None);
            for number in &numbers {
                self.runs.send(false, vec![*number]);
            }
        }
        for number in numbers {
            self.open.extend(self.singles.send(false, vec![number]));
            self.next += 1;
        }
        self.check();
    }

    fn acknowledge(&mut self, id: PacketId) {
        let single = self.singles.on_puback(id);
        match self.runs.acknowledge(id) {
            Some(Acknowledged::Last(numbers)) => {
                let single = single.unwrap();
                assert!(numbers.contains(&single[0]));
            }
            Some(Acknowledged::OneOf(numbers)) => {
                assert!(numbers.len() > 1 && numbers.contains(&single.unwrap()[0]));
            }
            None => assert_eq!(single, None),
        }
        self.open.retain(|open| *open != id);
        self.check();
    }

    fn check(&self) {
        let seen = |window: &Outbound<Numbers>| {
            (
                window.room(),
                window.can_send(),
                window.open_count(),
                window.last_id(),
            )
        };
        assert_eq!(seen(&self.runs), seen(&self.singles));
        assert_eq!(self.runs.next_id(), self.singles.next_id());
    }
}

fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 40).unwrap() % below
}

//= mqtt5 4.9.0-2 test
//= mqtt5 2.2.1-4 test
#[test]
fn runs_are_what_their_messages_are() {
    let mut together = 0;
    for case in 0..100 {
        let mut seed = case;
        let mut two = Two::new(80);
        if case % 2 == 0 {
            // Near the end of the identifiers.
            for window in [&mut two.runs, &mut two.singles] {
                window.continue_behind(u16::MAX - 60);
            }
        }
        for _ in 0..300 {
            match random(&mut seed, 8) {
                0..3 => two.send(1 + random(&mut seed, 40)),
                3 => {
                    let Some(at) = two.open.len().checked_sub(1) else {
                        continue;
                    };
                    let id = two.open[random(&mut seed, at + 1)];
                    two.acknowledge(id);
                    two.acknowledge(id);
                }
                4..7 => {
                    for _ in 0..random(&mut seed, 30) {
                        if let Some(id) = two.open.front() {
                            two.acknowledge(*id);
                        }
                    }
                }
                _ if random(&mut seed, 4) == 0 => two.start(80),
                _ => two.acknowledge(id(1 + u16::try_from(two.next).unwrap())),
            }
        }
        together += two.together;
        two.runs.take_apart(pick);
        assert_eq!(two.runs.take_all(), two.singles.take_all());
    }
    assert!(together > 1_000, "{together}");
}

/// Optimisation: one entry for all of them, and the message comes back once.
#[test]
fn a_run_is_one_entry() {
    let mut outbound = Outbound::default();
    outbound.start_connection(100);
    assert_eq!(outbound.send_together(32, "m"), Some(id(1)));
    assert_eq!(outbound.next_together(33), None);
    assert_eq!(outbound.send_together(2, "n"), Some(id(33)));
    assert_eq!(outbound.messages().count(), 2);
    assert_eq!((outbound.open_count(), outbound.room()), (34, 66));
    for n in (1..=32).filter(|n| *n != 9) {
        assert_eq!(outbound.acknowledge(id(n)), Some(Acknowledged::OneOf(&"m")));
        assert_eq!(outbound.acknowledge(id(n)), None);
    }
    assert_eq!(
        outbound.acknowledge(id(34)),
        Some(Acknowledged::OneOf(&"n"))
    );
    assert_eq!(outbound.acknowledge(id(9)), Some(Acknowledged::Last("m")));
    assert_eq!(outbound.acknowledge(id(33)), Some(Acknowledged::Last("n")));
    assert_eq!(outbound.open_count(), 0);
}

#[test]
fn a_run_does_not_wrap_around() {
    for (behind, first) in [(u16::MAX - 5, u16::MAX - 4), (u16::MAX, 1)] {
        let mut outbound = Outbound::default();
        outbound.continue_behind(behind);
        assert_eq!(outbound.send_together(5, "m"), Some(id(first)));
    }
    let mut outbound = Outbound::default();
    outbound.continue_behind(u16::MAX - 4);
    assert_eq!(outbound.send_together(5, "m"), None);
    assert_eq!(outbound.send_together(4, "m"), Some(id(u16::MAX - 3)));
    assert_eq!(outbound.send_together(5, "m"), Some(id(1)));
}
