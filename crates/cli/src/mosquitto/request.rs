//! mosquitto_rr.

use martlet_codec::{Property, ReasonCode, SubscriptionOptions};

use super::link::{Event, Lost, Outgoing, encoded};
use super::run::{Run, Woke};
use super::subscribe::printed;
use super::texts;
use crate::format::Printer;
use crate::programs::Dialect;

/// Sends a request, prints the answer, and returns the exit code.
pub(super) async fn run(mut run: Run<'_>, payload: &[u8]) -> u8 {
    loop {
        match run.wait(None, None).await {
            Woke::Link(Ok(Event::ConnAck { code: 0 })) => {
                if let Err(code) = subscribe(&mut run) {
                    return code;
                }
            }
            Woke::Link(Ok(Event::ConnAck { code })) => {
                run.refused(code);
                run.leave(ReasonCode::Success).await;
                return code;
            }
            Woke::Link(Ok(Event::SubAck { codes, .. })) => {
                if let Some(code) = codes.first().filter(|code| **code >= 0x80) {
                    run.complain(&texts::reason(*code));
                    run.leave(ReasonCode::Success).await;
                    return 0;
                }
                if let Err(code) = request(&mut run, payload) {
                    return code;
                }
            }
            Woke::Link(Ok(Event::Message(message))) => {
                let mut out = Vec::new();
                let printer = Printer::new(&run.settings.output, Dialect::Mosquitto, 0);
                if let Some(complaint) = printer.print(&printed(&message), &mut out) {
                    run.complain(&complaint.to_string());
                }
                // Nobody reading is no error.
                let _ = run.screen.show(&out);
                run.link.close().await;
                return 0;
            }
            Woke::Link(Ok(Event::Sent { .. })) | Woke::Line(_) | Woke::Timer | Woke::Stopped => {}
            Woke::Link(Ok(Event::Disconnected)) => return 0,
            Woke::Link(Err(Lost::Closed)) => return run.fail(texts::LOST),
            Woke::Link(Err(Lost::Garbage)) => return run.fail(texts::ERRNO),
            Woke::Link(Err(Lost::Protocol)) => return run.fail(texts::PROTOCOL),
            Woke::TimedOut => return run.timed_out().await,
        }
    }
}

fn subscribe(run: &mut Run<'_>) -> Result<(), u8> {
    let settings = run.settings;
    let topic = settings
        .sending
        .response_topic
        .as_deref()
        .unwrap_or_default();
    let filters = [(topic, SubscriptionOptions::with_qos(settings.sending.qos))];
    let properties = encoded(&settings.receiving.subscribe);
    let sent = run
        .link
        .subscribe(&filters, properties.as_properties(), &mut run.screen);
    sent.map_err(|_| run.fail(texts::PROTOCOL))
}

fn request(run: &mut Run<'_>, payload: &[u8]) -> Result<(), u8> {
    let sending = &run.settings.sending;
    let mut properties = encoded(&sending.properties);
    if let Some(topic) = &sending.response_topic {
        properties.push(Property::ResponseTopic(topic));
    }
    let message = Outgoing {
        topic: sending.topic.as_deref(),
        payload,
        qos: sending.qos,
        retain: false,
        properties: properties.as_properties(),
    };
    let sent = run.link.publish(&message, &mut run.screen);
    sent.map(|_| ()).map_err(|_| run.fail(texts::PROTOCOL))
}
