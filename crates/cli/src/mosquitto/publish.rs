//! mosquitto_pub.

use std::pin::Pin;

use martlet_codec::{PropertiesBuf, PropertyId, ReasonCode};
use tokio::time::{Sleep, sleep};

use super::link::{Event, Lost, Outgoing, encoded};
use super::run::{Lines, Run, Woke};
use super::texts;
use crate::input;
use crate::settings::Source;

/// Publishes, and returns the exit code.
pub(super) async fn run(run: Run<'_>, payload: &[u8]) -> u8 {
    let lines = run.settings.sending.source == Source::StdinLines;
    let mut publisher = Publisher {
        properties: encoded(&run.settings.sending.properties),
        has_alias: run.settings.sending.properties.has(PropertyId::TopicAlias),
        run,
        first: true,
        last: None,
        refusal: None,
    };
    if lines {
        publisher.lines().await
    } else {
        publisher.payload(payload).await
    }
}

struct Publisher<'a> {
    run: Run<'a>,
    properties: PropertiesBuf,
    has_alias: bool,
    first: bool,
    /// The identifier of the last message.
    last: Option<u16>,
    /// Why the first message that was refused was refused.
    refusal: Option<u8>,
}

impl Publisher<'_> {
    /// One message, perhaps several times.
    async fn payload(&mut self, payload: &[u8]) -> u8 {
        let mut sent = 0_u32;
        let mut pause: Option<Pin<Box<Sleep>>> = None;
        loop {
            match self.run.wait(pause.as_mut(), None).await {
                Woke::Link(Ok(Event::ConnAck { code: 0 })) => {
                    if let Err(code) = self.send(payload).await {
                        return code;
                    }
                }
                Woke::Link(Ok(Event::ConnAck { code })) => return self.refused(code),
                Woke::Link(Ok(Event::Sent { id, reason, text })) => {
                    self.tell_refusal(id, reason, text.as_deref());
                    sent += 1;
                    if sent >= self.run.settings.sending.repeat {
                        self.run.leave(ReasonCode::Success).await;
                        return self.done();
                    }
                    pause = Some(Box::pin(sleep(self.run.settings.sending.repeat_delay)));
                }
                Woke::Timer => {
                    pause = None;
                    if let Err(code) = self.send(payload).await {
                        return code;
                    }
                }
                Woke::Link(Ok(Event::Disconnected)) => return self.run.fail(texts::NO_CONNECTION),
                Woke::Link(Err(Lost::Closed)) => return self.run.fail(texts::LOST),
                Woke::Link(Err(Lost::Garbage)) => return self.run.fail(texts::ERRNO),
                Woke::Link(Err(Lost::Protocol)) => return self.run.fail(texts::PROTOCOL),
                Woke::Link(Ok(Event::SubAck { .. } | Event::Message(_)))
                | Woke::Line(_)
                | Woke::Stopped
                | Woke::TimedOut => {}
            }
        }
    }

    /// One message for each line of standard input. A lost connection is made again.
    async fn lines(&mut self) -> u8 {
        let mut lines: Option<Lines> = None;
        let mut ended = false;
        loop {
            let wanted = lines
                .as_mut()
                .filter(|_| !ended && self.run.link.has_room());
            match self.run.wait(None, wanted).await {
                Woke::Link(Ok(Event::ConnAck { code: 0 })) => {
                    if lines.is_none() {
                        match input::lines() {
                            Ok(started) => lines = Some(started),
                            Err(error) => {
                                self.run.complain(&format!("Error: {error}"));
                                return 1;
                            }
                        }
                    }
                }
                Woke::Link(Ok(Event::ConnAck { code })) => {
                    self.run.refused(code);
                    self.run.fail(texts::REFUSED);
                    return code;
                }
                Woke::Line(Some(Ok(first))) => {
                    // What is there already goes in the same write.
                    let mut next = Some(first);
                    while let Some(line) = next {
                        if let Err(code) = self.send(&line).await {
                            return code;
                        }
                        next = match &mut lines {
                            Some(lines) if self.run.link.has_room() => {
                                lines.try_recv().ok().and_then(Result::ok)
                            }
                            _ => None,
                        };
                    }
                }
                Woke::Line(Some(Err(_)) | None) => {
                    ended = true;
                    if self.last.is_none() {
                        self.run.leave(ReasonCode::Success).await;
                        return self.done();
                    }
                }
                Woke::Link(Ok(Event::Sent { id, reason, text })) => {
                    self.tell_refusal(id, reason, text.as_deref());
                    if self.last == Some(id) {
                        self.last = None;
                    }
                    if ended && self.last.is_none() {
                        self.run.leave(ReasonCode::Success).await;
                        return self.done();
                    }
                }
                Woke::Link(Ok(Event::Disconnected) | Err(Lost::Closed | Lost::Garbage)) => {
                    lines_pause(&mut self.run).await;
                }
                Woke::Link(Err(Lost::Protocol)) => return self.run.fail(texts::PROTOCOL),
                Woke::Link(Ok(Event::SubAck { .. } | Event::Message(_)))
                | Woke::Timer
                | Woke::Stopped
                | Woke::TimedOut => {}
            }
        }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), u8> {
        let sending = &self.run.settings.sending;
        if sending.qos > self.run.link.qos_max() {
            self.run
                .complain("Error: Message QoS not supported on broker, try a lower QoS.");
            self.run.leave(ReasonCode::Success).await;
            return Err(0);
        }
        let again = self.has_alias && self.run.is_v5() && !self.first;
        let message = Outgoing {
            topic: sending.topic.as_deref().filter(|_| !again),
            payload,
            qos: sending.qos,
            retain: sending.retain,
            properties: self.properties.as_properties(),
        };
        if let Ok(id) = self.run.link.publish(&message, &mut self.run.screen) {
            self.last = Some(id);
            self.first = false;
            Ok(())
        } else {
            self.run
                .complain("Error: Invalid input. Does your topic contain '+' or '#'?");
            self.run.leave(ReasonCode::Success).await;
            Err(0)
        }
    }

    fn refused(&self, code: u8) -> u8 {
        self.run.refused(code);
        let library = if self.run.is_v5() {
            texts::PROTOCOL
        } else {
            texts::REFUSED
        };
        self.run.fail(library);
        code
    }

    /// The exit code when everything has been sent: with `--strict`, of a refusal, which mosquitto only tells.
    fn done(&self) -> u8 {
        let strict = self.run.settings.sending.strict;
        self.refusal.filter(|_| strict).unwrap_or(0)
    }

    fn tell_refusal(&mut self, id: u16, reason: u8, text: Option<&str>) {
        if reason < 0x80 {
            return;
        }
        self.refusal.get_or_insert(reason);
        self.run.complain(&format!(
            "Warning: Publish {id} failed: {}.",
            texts::reason(reason)
        ));
        if let Some(text) = text {
            self.run.complain(text);
        }
    }
}

async fn lines_pause(run: &mut Run<'_>) {
    // Without -W and signals there is nothing else to wait for.
    let _ = run.again().await;
}
