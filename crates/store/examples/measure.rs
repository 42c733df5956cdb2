//! Measures a log on a real disk. The figures of ADR 3 are made with it.
//!
//! ```text
//! measure commit FOLDER MESSAGES REFERENCES        append batches of 256 messages, sync each
//! measure churn FOLDER MESSAGES REFERENCES         the same, finish each message a while later, clean
//! measure build FOLDER SESSIONS RETAINED MESSAGES REFERENCES    write a log
//! measure open FOLDER                              open it and read everything back: time and memory
//! ```
//! Build it with `--release`. `MARTLET_DURABILITY=os` leaves syncing to the system.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it measures, and says what it measured"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{Body, BodyId, Ids, Record, SessionId, StoredOptions, StoredTerms, slot_of};
use martlet_store::{Durability, Log, Maintenance, RealDisk, Recovery, Settings, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["commit", folder, messages, references] => work(
            folder.as_ref(),
            messages.parse()?,
            references.parse()?,
            None,
        ),
        ["churn", folder, messages, references] => work(
            folder.as_ref(),
            messages.parse()?,
            references.parse()?,
            Some(400),
        ),
        ["build", folder, sessions, retained, messages, references] => build(
            folder.as_ref(),
            sessions.parse()?,
            retained.parse()?,
            messages.parse()?,
            references.parse()?,
        ),
        ["open", folder] => reopen(folder.as_ref()),
        _ => Err("see the first lines of the file".into()),
    }
}

fn open(folder: &Path) -> Result<(Log<RealDisk>, Recovery), Box<dyn Error>> {
    let mut settings = Settings::new(u64::from(std::process::id()));
    if std::env::var("MARTLET_DURABILITY").is_ok_and(|value| value == "os") {
        settings.durability = Durability::Os;
    }
    Ok(Log::open(RealDisk::new(folder), settings)?)
}

/// The broker's side: sessions with queues, one after the other.
struct Sessions {
    ids: Vec<SessionId>,
    /// Session, position, body.
    queued: VecDeque<(SessionId, u64, BodyId)>,
    counter: u64,
    next: usize,
}

impl Sessions {
    fn new(count: u64) -> Self {
        let ids = (1..=count).map(|number| SessionId::new(number, slot_of(&client(number))));
        Self {
            ids: ids.collect(),
            queued: VecDeque::new(),
            counter: count,
            next: 0,
        }
    }

    fn open(&self, out: &mut Vec<u8>) {
        for session in &self.ids {
            open_session(*session, out);
        }
    }

    /// A message of 256 bytes, for so many sessions.
    fn publish(&mut self, references: usize, out: &mut Vec<u8>) {
        self.counter += 1;
        let Some(body) = BodyId::new(self.counter * 64) else {
            return;
        };
        let message = message("plant/7/power", &[0x42; 256]);
        Record::Body { body, message }.encode(out);
        for _ in 0..references {
            self.next = (self.next + 1) % self.ids.len();
            if let Some(session) = self.ids.get(self.next) {
                queued(*session, self.counter, body).encode(out);
                self.queued.push_back((*session, self.counter, body));
            }
        }
    }

    /// The oldest message of all is sent and acknowledged.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let Some((session, position, body)) = self.queued.pop_front() else {
            return;
        };
        let low = u16::try_from(position % 65_535).unwrap_or(0);
        if let Some(packet_id) = PacketId::new(low + 1) {
            Record::Sent {
                session,
                position,
                packet_id,
            }
            .encode(out);
            let body = Some(body);
            Record::Finished {
                session,
                packet_id,
                body,
            }
            .encode(out);
        }
    }

    fn checkpoint(&self, slot: u8) -> Vec<u8> {
        let mut out = Vec::new();
        Record::SlotBegin { slot }.encode(&mut out);
        for session in self.ids.iter().filter(|session| session.slot() == slot) {
            open_session(*session, &mut out);
        }
        for (session, position, body) in &self.queued {
            if session.slot() == slot {
                queued(*session, *position, *body).encode(&mut out);
            }
        }
        Record::SlotEnd { slot }.encode(&mut out);
        out
    }
}

/// Appends batches; with `window`, messages are finished that many batches later.
fn work(
    folder: &Path,
    messages: u64,
    references: usize,
    window: Option<u64>,
) -> Result<(), Box<dyn Error>> {
    let (mut log, _) = open(folder)?;
    // Two segments ahead, as a broker has it by the time that its listeners open.
    while log.maintain()? == Maintenance::Busy {}
    let mut sessions = Sessions::new(1_000);
    let mut batch = Vec::new();
    sessions.open(&mut batch);
    log.append(&batch)?;
    log.sync()?;
    let batches = messages / BATCH;
    let mut commits = Vec::new();
    let (mut encoding, mut maintaining) = (Duration::ZERO, Duration::ZERO);
    let mut worst = Duration::ZERO;
    let start = Instant::now();
    for number in 0..batches {
        let begin = Instant::now();
        batch.clear();
        for _ in 0..BATCH {
            sessions.publish(references, &mut batch);
            if window.is_some_and(|window| number >= window) {
                (0..references).for_each(|_| sessions.finish(&mut batch));
            } else if window.is_none() {
                sessions.queued.clear();
            }
        }
        let encoded = Instant::now();
        log.append(&batch)?;
        log.sync()?;
        let committed = Instant::now();
        // Without a window no checkpoint could be written: nothing is kept of it.
        let wish = log.maintain()?;
        if let (Maintenance::WantsCheckpoint(slot), Some(_)) = (wish, window) {
            log.append(&sessions.checkpoint(slot))?;
        }
        encoding += encoded - begin;
        maintaining += committed.elapsed();
        worst = worst.max(committed.elapsed());
        commits.push(committed - encoded);
    }
    let took = start.elapsed();
    commits.sort_unstable();
    let part = |part: f64| {
        let place = (commits.len() as f64 * part) as usize;
        commits
            .get(place)
            .or_else(|| commits.last())
            .copied()
            .unwrap_or_default()
    };
    let stats = log.stats();
    println!(
        "messages per second         {:.0}",
        rate(batches * BATCH, took)
    );
    println!(
        "references per second       {:.0}",
        rate(batches * BATCH * references as u64, took)
    );
    println!(
        "without making the batches  {:.0} messages/s",
        rate(batches * BATCH, took.saturating_sub(encoding))
    );
    println!(
        "bytes of batches / message  {:.1}",
        stats.appended_bytes as f64 / messages as f64
    );
    println!(
        "bytes written / appended    {:.2}",
        stats.written_bytes as f64 / stats.appended_bytes as f64
    );
    println!(
        "commit median {:?} p99 {:?} p99.9 {:?} max {:?}",
        part(0.5),
        part(0.99),
        part(0.999),
        part(1.0)
    );
    println!("maintenance total {maintaining:?} worst {worst:?}");
    println!("{stats:?}");
    println!("peak memory {} MB", peak_mb());
    Ok(())
}

fn build(
    folder: &Path,
    session_count: u64,
    retained: u64,
    messages: u64,
    references: usize,
) -> Result<(), Box<dyn Error>> {
    let (mut log, _) = open(folder)?;
    let mut sessions = Sessions::new(session_count);
    let mut batch = Vec::new();
    let mut put = |batch: &mut Vec<u8>, all: bool| -> Result<(), Box<dyn Error>> {
        if batch.len() > 100_000 || all && !batch.is_empty() {
            log.append(batch)?;
            log.sync()?;
            batch.clear();
        }
        Ok(())
    };
    for session in &sessions.ids {
        open_session(*session, &mut batch);
        subscribe(*session, &mut batch);
        put(&mut batch, false)?;
    }
    for _ in 0..retained {
        sessions.counter += 1;
        let topic = format!("state/{}", sessions.counter);
        let body = BodyId::new(sessions.counter * 64).ok_or("no id")?;
        let message = message(&topic, &[0x42; 64]);
        Record::Body { body, message }.encode(&mut batch);
        let (slot, replaces) = (slot_of(&topic), None);
        Record::Retained {
            slot,
            body,
            replaces,
        }
        .encode(&mut batch);
        put(&mut batch, false)?;
    }
    for _ in 0..messages {
        sessions.publish(references, &mut batch);
        sessions.queued.clear();
        put(&mut batch, false)?;
    }
    put(&mut batch, true)?;
    println!("{:?}", log.stats());
    Ok(())
}

fn reopen(folder: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let (mut log, recovery) = open(folder)?;
    let opened = start.elapsed();
    let memory = peak_mb();
    let mut counts = [0_u64; 4];
    log.restore(2, &mut |_, record, _| {
        let place = match record {
            Record::Body { .. } => 0,
            Record::Session { .. } => 1,
            Record::Queued { .. } => 2,
            _other => 3,
        };
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    })?;
    println!(
        "opened in {opened:?}, {memory} MB; read back in {:?}, {} MB",
        start.elapsed().saturating_sub(opened),
        peak_mb()
    );
    println!("bodies, sessions, queued, other: {counts:?}");
    println!("{recovery:?}");
    Ok(())
}

fn client(number: u64) -> String {
    format!("client-{number}")
}

fn open_session(session: SessionId, out: &mut Vec<u8>) {
    Record::Session {
        session,
        client_id: &client(session.counter()),
        version: Version::V5,
        expiry_s: u32::MAX,
    }
    .encode(out);
}

fn subscribe(session: SessionId, out: &mut Vec<u8>) {
    Record::Subscribed {
        session,
        filter: &format!("plant/{}/power", session.counter()),
        options: StoredOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: 0,
        },
        replaying: false,
    }
    .encode(out);
}

fn queued(session: SessionId, position: u64, body: BodyId) -> Record<'static> {
    Record::Queued {
        session,
        position,
        body,
        terms: StoredTerms {
            qos: QoS::AtLeastOnce,
            retain: false,
            ids: Ids::default(),
            group: None,
        },
        packet_id: None,
    }
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Body<'a> {
    Body {
        topic,
        shared_properties: &[],
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The most memory that the process has had.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1_024
}

const BATCH: u64 = 256;
