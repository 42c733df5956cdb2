//! Records for people and for programs: a name, and fields with names.

use std::fmt::Write as _;
use std::io::{self, Write};

use martlet_engine::{Body, Record, SessionId, StoredOptions, StoredTerms, WallTime};

/// Writes the fields of a line.
pub(super) trait Fields {
    fn number(&mut self, name: &str, value: u64);
    fn flag(&mut self, name: &str, value: bool);
    fn text(&mut self, name: &str, value: &str);

    fn option(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Text if it is some, else hexadecimal digits.
    fn bytes(&mut self, name: &str, value: &[u8]) {
        if let Ok(text) = std::str::from_utf8(value) {
            return self.text(name, text);
        }
        let mut digits = String::with_capacity(2 * value.len());
        for byte in value {
            let _ = write!(digits, "{byte:02x}");
        }
        self.text(&format!("{name}_hex"), &digits);
    }

    fn time(&mut self, name: &str, value: Option<WallTime>) {
        self.option(name, value.map(|time| time.0));
    }
}

/// `name=value`, with quotes around texts.
#[derive(Debug, Default)]
pub(super) struct TextFields(String);

/// `"name":value`.
#[derive(Debug, Default)]
pub(super) struct JsonFields(String);

impl TextFields {
    pub(super) fn finish(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.0.trim_start())
    }

    /// A word without a name, as the first ones of a line.
    pub(super) fn word(&mut self, word: impl std::fmt::Display) {
        let _ = write!(self.0, " {word}");
    }
}

impl Fields for TextFields {
    fn number(&mut self, name: &str, value: u64) {
        let _ = write!(self.0, " {name}={value}");
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            let _ = write!(self.0, " {name}");
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        let _ = write!(self.0, " {name}={value:?}");
    }
}

impl JsonFields {
    pub(super) fn finish(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{{{}}}", self.0)
    }

    fn name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.string(name);
        self.0.push(':');
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\u{0}'..='\u{1f}' | '\u{7f}' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(character));
                }
                _ => self.0.push(character),
            }
        }
        self.0.push('"');
    }
}

impl Fields for JsonFields {
    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }
}

/// The kind of a record.
pub(super) const fn name_of(record: &Record<'_>) -> &'static str {
    match record {
        Record::SlotBegin { .. } => "slot_begin",
        Record::SlotEnd { .. } => "slot_end",
        Record::Body { .. } => "body",
        Record::Session { .. } => "session",
        Record::Offline { .. } => "offline",
        Record::SessionEnded { .. } => "session_ended",
        Record::Will { .. } => "will",
        Record::WillCleared { .. } => "will_cleared",
        Record::WillUnderWay { .. } => "will_under_way",
        Record::WillDone { .. } => "will_done",
        Record::Subscribed { .. } => "subscribed",
        Record::Unsubscribed { .. } => "unsubscribed",
        Record::Replayed { .. } => "replayed",
        Record::Queued { .. } => "queued",
        Record::Sent { .. } => "sent",
        Record::Dropped { .. } => "dropped",
        Record::Released { .. } => "released",
        Record::Finished { .. } => "finished",
        Record::Received { .. } => "received",
        Record::Taken { .. } => "taken",
        Record::Completed { .. } => "completed",
        Record::Retained { .. } => "retained",
        Record::RetainedCleared { .. } => "retained_cleared",
        Record::GroupQueued { .. } => "group_queued",
        Record::GroupDone { .. } => "group_done",
    }
}

/// The fields of a record.
#[expect(clippy::too_many_lines, reason = "a table: one arm for each record")]
pub(super) fn describe(record: &Record<'_>, out: &mut dyn Fields) {
    match *record {
        Record::SlotBegin { .. } | Record::SlotEnd { .. } => {}
        Record::Body { body, ref message } => {
            out.number("body", body.as_u64());
            describe_message(message, out);
        }
        Record::Session {
            session,
            client_id,
            version,
            expiry_s,
        } => {
            describe_session(session, out);
            out.text("client_id", client_id);
            out.number("version", version.level().into());
            out.number("expiry_s", expiry_s.into());
        }
        Record::Offline {
            session,
            ends_at,
            will_at,
        } => {
            describe_session(session, out);
            out.time("ends_at", ends_at);
            out.time("will_at", will_at);
        }
        Record::SessionEnded { session } | Record::WillCleared { session } => {
            describe_session(session, out);
        }
        Record::WillUnderWay {
            session,
            publish,
            ref message,
        } => {
            describe_session(session, out);
            out.number("publish", publish);
            describe_message(message, out);
        }
        Record::WillDone { session, publish } => {
            describe_session(session, out);
            out.number("publish", publish);
        }
        Record::Will {
            session,
            ref message,
            delay_s,
            expiry_s,
        } => {
            describe_session(session, out);
            out.number("delay_s", delay_s.into());
            out.option("expiry_s", expiry_s.map(u64::from));
            describe_message(message, out);
        }
        Record::Subscribed {
            session,
            filter,
            options,
            replaying,
        } => {
            describe_session(session, out);
            out.text("filter", filter);
            describe_options(options, out);
            out.flag("replaying", replaying);
        }
        Record::Unsubscribed { session, filter } | Record::Replayed { session, filter } => {
            describe_session(session, out);
            out.text("filter", filter);
        }
        Record::Queued {
            session,
            position,
            body,
            ref terms,
            packet_id,
        } => {
            describe_session(session, out);
            out.number("position", position);
            out.number("body", body.as_u64());
            describe_terms(terms, out);
            out.option("packet_id", packet_id.map(|id| id.get().into()));
        }
        Record::Sent {
            session,
            position,
            packet_id,
        } => {
            describe_session(session, out);
            out.number("position", position);
            out.number("packet_id", packet_id.get().into());
        }
        Record::Dropped {
            session,
            position,
            body,
        } => {
            describe_session(session, out);
            out.number("position", position);
            out.number("body", body.as_u64());
        }
        Record::Released {
            session,
            packet_id,
            body,
        }
        | Record::Finished {
            session,
            packet_id,
            body,
        } => {
            describe_session(session, out);
            out.number("packet_id", packet_id.get().into());
            out.option("body", body.map(martlet_engine::BodyId::as_u64));
        }
        Record::Received {
            session,
            packet_id,
            publish,
        } => {
            describe_session(session, out);
            out.number("packet_id", packet_id.get().into());
            out.option("publish", publish);
        }
        Record::Taken { publish, .. } => out.number("publish", publish),
        Record::Completed { session, packet_id } => {
            describe_session(session, out);
            out.number("packet_id", packet_id.get().into());
        }
        Record::Retained { body, replaces, .. } => {
            out.number("body", body.as_u64());
            out.option("replaces", replaces.map(martlet_engine::BodyId::as_u64));
        }
        Record::RetainedCleared { topic, body } => {
            out.text("topic", topic);
            out.number("body", body.as_u64());
        }
        Record::GroupQueued {
            group,
            sequence,
            body,
        }
        | Record::GroupDone {
            group,
            sequence,
            body,
        } => {
            out.text("group", group);
            out.number("place", sequence);
            out.number("body", body.as_u64());
        }
    }
}

fn describe_session(session: SessionId, out: &mut dyn Fields) {
    out.number("session", session.as_u64());
}

fn describe_message(message: &Body<'_>, out: &mut dyn Fields) {
    out.text("topic", message.topic);
    out.number("qos", message.qos as u64);
    out.flag("retain", message.retain);
    out.time("expires_at", message.expires_at);
    if !message.shared_properties.is_empty() {
        out.bytes("properties", message.shared_properties);
    }
    out.bytes("payload", message.payload);
}

fn describe_options(options: StoredOptions, out: &mut dyn Fields) {
    out.number("qos", options.qos as u64);
    out.flag("no_local", options.no_local);
    out.flag("retain_as_published", options.retain_as_published);
    out.number("subscription_id", options.subscription_id.into());
}

fn describe_terms(terms: &StoredTerms<'_>, out: &mut dyn Fields) {
    out.number("qos", terms.qos as u64);
    out.flag("retain", terms.retain);
    for id in terms.ids.iter() {
        out.number("subscription_id", id.into());
    }
    if let Some((group, sequence)) = terms.group {
        out.text("group", group);
        out.number("place", sequence);
    }
}
