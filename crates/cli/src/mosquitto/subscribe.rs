//! mosquitto_sub.

use martlet_codec::{
    PropertiesBuf, QoS, ReasonCode, RetainHandling, SubscriptionOptions, topic_matches,
};

use super::link::{Event, Incoming, Lost, Outgoing, encoded};
use super::run::{Run, Woke};
use super::texts;
use crate::format::{Incoming as Printed, Printer};
use crate::programs::Dialect;

/// Subscribes and prints, and returns the exit code.
pub(super) async fn run(run: Run<'_>) -> u8 {
    let mut seed = [0; 8];
    // Which messages --random-filter leaves out is no secret.
    let _ = getrandom::fill(&mut seed);
    let printer = Printer::new(
        &run.settings.output,
        Dialect::Mosquitto,
        u64::from_le_bytes(seed),
    );
    let mut subscriber = Subscriber {
        run,
        printer,
        count: 0,
        removed: false,
        is_over: false,
    };
    loop {
        let woke = subscriber.run.wait(None, None).await;
        match subscriber.on(woke).await {
            Step::Go => {}
            Step::End(code) => return code,
            Step::Reconnect => {
                if let Err(woke) = subscriber.run.again().await
                    && let Step::End(code) = subscriber.on(woke).await
                {
                    return code;
                }
            }
        }
    }
}

struct Subscriber<'a> {
    run: Run<'a>,
    printer: Printer,
    count: u64,
    /// A retained message was removed. Measured: mosquitto_sub 2.0.11 waits then for an acknowledgement that it never hears
    /// of, so neither -C nor --retained-only ends it any more, but -W does.
    removed: bool,
    /// No more messages are wanted.
    is_over: bool,
}

enum Step {
    Go,
    End(u8),
    Reconnect,
}

impl Subscriber<'_> {
    async fn on(&mut self, woke: Woke) -> Step {
        match woke {
            Woke::Link(Ok(event)) => self.on_event(event).await,
            Woke::Link(Err(Lost::Closed | Lost::Garbage)) => Step::Reconnect,
            Woke::Link(Err(Lost::Protocol)) => Step::End(self.run.fail(texts::PROTOCOL)),
            Woke::Stopped => {
                self.run.leave(ReasonCode::DisconnectWithWillMessage).await;
                Step::End(0)
            }
            Woke::TimedOut => Step::End(self.run.timed_out().await),
            Woke::Timer | Woke::Line(_) => Step::Go,
        }
    }

    async fn on_event(&mut self, event: Event) -> Step {
        match event {
            Event::ConnAck { code: 0 } => self.subscribe().await,
            Event::ConnAck { code } => {
                self.run.refused(code);
                self.leave().await;
                Step::End(code)
            }
            Event::SubAck { id, codes } => self.on_suback(id, &codes).await,
            Event::Message(message) => self.on_message(&message).await,
            Event::Sent { .. } => Step::Go,
            Event::Disconnected => Step::End(0),
        }
    }

    async fn subscribe(&mut self) -> Step {
        let settings = self.run.settings;
        let receiving = &settings.receiving;
        let is_v5 = self.run.is_v5();
        let options = SubscriptionOptions {
            qos: settings.sending.qos,
            no_local: false,
            retain_as_published: is_v5 && receiving.retain_as_published,
            retain_handling: if is_v5 && receiving.no_retained {
                RetainHandling::Never
            } else {
                RetainHandling::Always
            },
        };
        let filters: Vec<(&str, SubscriptionOptions)> = receiving
            .subscriptions
            .iter()
            .map(|subscription| (subscription.filter.as_str(), options))
            .collect();
        let properties = encoded(&receiving.subscribe);
        let run = &mut self.run;
        let mut sent = run
            .link
            .subscribe(&filters, properties.as_properties(), &mut run.screen);
        let properties = encoded(&receiving.unsubscribe_properties);
        for filter in &receiving.unsubscribe {
            let unsubscribed =
                run.link
                    .unsubscribe(filter, properties.as_properties(), &mut run.screen);
            sent = sent.and(unsubscribed);
        }
        if sent.is_err() {
            let code = self.run.fail(texts::PROTOCOL);
            self.leave().await;
            return Step::End(code);
        }
        Step::Go
    }

    async fn on_suback(&mut self, id: u16, codes: &[u8]) -> Step {
        if self.run.settings.debug && !self.run.settings.quiet {
            let list: Vec<String> = codes.iter().map(u8::to_string).collect();
            let _ = self
                .run
                .screen
                .line(&format!("Subscribed (mid: {id}): {}", list.join(", ")));
        }
        if codes.iter().all(|code| *code >= 0x80) {
            self.leave().await;
            self.run.complain("All subscription requests were denied.");
            return Step::End(0);
        }
        if self.run.settings.receiving.exit_after_subscribe {
            self.leave().await;
            return Step::End(0);
        }
        Step::Go
    }

    async fn on_message(&mut self, message: &Incoming) -> Step {
        let receiving = &self.run.settings.receiving;
        if self.is_over {
            return Step::Go;
        }
        if receiving.retained_only && !message.retain {
            self.is_over = true;
            return self.end_if_over().await;
        }
        if message.retain && receiving.no_retained
            || receiving
                .filter_out
                .iter()
                .any(|filter| topic_matches(filter, &message.topic))
        {
            return Step::Go;
        }
        if receiving.remove_retained && message.retain {
            self.remove(&message.topic);
        }
        let mut out = Vec::new();
        if self.printer.lets_through()
            && let Some(complaint) = self.printer.print(&printed(message), &mut out)
        {
            self.run.complain(&complaint.to_string());
        }
        if self.run.screen.show(&out).is_err() {
            self.leave().await;
            return Step::End(0);
        }
        self.count += 1;
        if Some(self.count) == receiving.count {
            self.is_over = true;
        }
        self.end_if_over().await
    }

    fn remove(&mut self, topic: &str) {
        let none = PropertiesBuf::new();
        let empty = Outgoing {
            topic: Some(topic),
            payload: b"",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: none.as_properties(),
        };
        let run = &mut self.run;
        // The topic came from the broker: it can go back.
        self.removed |= run.link.publish(&empty, &mut run.screen).is_ok();
    }

    async fn end_if_over(&mut self) -> Step {
        if self.is_over && !self.removed {
            self.leave().await;
            return Step::End(0);
        }
        Step::Go
    }

    async fn leave(&mut self) {
        self.run.leave(ReasonCode::Success).await;
    }
}

/// The message as the printer wants it.
pub(super) fn printed(message: &Incoming) -> Printed<'_> {
    Printed {
        topic: &message.topic,
        payload: &message.payload,
        payload_length: message.payload.len(),
        qos: message.qos as u8,
        retain: message.retain,
        packet_id: message.id,
        properties: message.properties.as_properties(),
    }
}
