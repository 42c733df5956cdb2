//! What holds for all options together: looked at when the last one has been read.

use martlet_codec::{PacketType, Place, PropertyId, Version};

use super::problem::{Problem, PropertyProblem};
use crate::programs::{Dialect, Program};
use crate::properties::{Flaw, Properties, Value, hyphenated};
use crate::settings::{self, AskedVersion, Encoding, Lines, Settings, Source};

/// Checks the settings and fills in what follows from others.
pub(super) fn check(settings: &mut Settings) -> Result<(), Problem> {
    will(settings)?;
    tls(settings)?;
    session(settings)?;
    match settings.dialect {
        Dialect::Mosquitto => {
            if settings.program == Program::Sub && settings.receiving.subscriptions.is_empty() {
                return Err(Problem::NoFilter);
            }
            // Port 0 is how mosquitto's library spells a Unix domain socket.
            if settings.broker.port == Some(0) && settings.broker.unix.is_none() {
                settings.broker.unix = Some(settings.host().into());
            }
        }
        Dialect::Martlet => ours(settings)?,
    }
    properties(settings)
}

fn will(settings: &Settings) -> Result<(), Problem> {
    if settings.will.topic.is_some() {
        return Ok(());
    }
    let option = if settings.will.payload.is_some() {
        "--will-payload"
    } else if settings.will.retain {
        "--will-retain"
    } else {
        return Ok(());
    };
    Err(Problem::WillWithoutTopic { option })
}

fn tls(settings: &Settings) -> Result<(), Problem> {
    let tls = &settings.tls;
    if tls.cert.is_some() != tls.key.is_some() {
        return Err(Problem::CertWithoutKey);
    }
    if tls.key_form.is_some() && tls.key.is_none() {
        return Err(Problem::KeyFormWithoutKey);
    }
    if tls.engine_password.is_some() && (tls.key_form.is_none() || tls.engine.is_none()) {
        return Err(Problem::KpassWithoutEngine);
    }
    if (tls.ca_file.is_some() || tls.ca_path.is_some()) && tls.psk.is_some() {
        return Err(Problem::PskAndCertificates);
    }
    if tls.psk.is_some() && tls.psk_identity.is_none() {
        return Err(Problem::PskWithoutIdentity);
    }
    Ok(())
}

fn session(settings: &mut Settings) -> Result<(), Problem> {
    let session = &mut settings.session;
    let named = session.id.is_some() && session.id_prefix.is_none();
    if session.version.is_v5() {
        if !session.clean && session.expiry_s.is_none() {
            session.expiry_s = Some(u32::MAX);
        }
        if session.expiry_s == Some(u32::MAX) && !named {
            return Err(Problem::NoIdForEver);
        }
        if let Some(seconds) = session.expiry_s.filter(|seconds| *seconds > 0) {
            let id = PropertyId::SessionExpiryInterval;
            session.connect.push(id, Value::Number(seconds));
        }
    } else if !session.clean && !named {
        return Err(Problem::NoIdToResume);
    }
    Ok(())
}

/// What mosquitto does not ask, or finds out later.
fn ours(settings: &Settings) -> Result<(), Problem> {
    if let AskedVersion::Is(Version::V31 | Version::V311) = settings.session.version {
        only_in_v5(settings)?;
    }
    let sending = &settings.sending;
    match settings.program {
        Program::Pub | Program::Rr => payload(settings)?,
        Program::Sub
            if settings.receiving.subscriptions.is_empty()
                && settings.receiving.unsubscribe.is_empty() =>
        {
            return Err(Problem::NoFilter);
        }
        Program::Get if settings.receiving.subscriptions.is_empty() => {
            return Err(Problem::Missing {
                what: "nothing to get",
                remedy: "write martlet get TOPIC",
            });
        }
        Program::Sub | Program::Get | Program::Conn => {}
    }
    let receiving = &settings.receiving;
    if receiving.no_retained && receiving.retained_only {
        return Err(Problem::Conflict {
            one: "-R",
            other: "--retained-only",
            why: "together they leave nothing",
        });
    }
    rate(settings)?;
    if settings.output.message_rate && settings.output.place == settings::Place::Table {
        return Err(Problem::Conflict {
            one: "--message-rate",
            other: "--watch",
            why: "there is no message to show",
        });
    }
    if sending.repeat > 1 && sending.source == Source::StdinLines {
        return Err(Problem::Conflict {
            one: "--repeat",
            other: "-l",
            why: "lines come once",
        });
    }
    Ok(())
}

fn payload(settings: &Settings) -> Result<(), Problem> {
    let sending = &settings.sending;
    if sending.lines != Lines::Payload && sending.source != Source::StdinLines {
        return Err(Problem::Missing {
            what: "--input and --topic-separator are about lines",
            remedy: "add -l",
        });
    }
    template(settings)?;
    if sending.source == Source::None && sending.template.is_none() {
        return Err(Problem::Missing {
            what: "nothing to send",
            remedy: "give one of -m TEXT, -f FILE, -s, -l, -n, --size BYTES, --template TEXT",
        });
    }
    if sending.encoding != Encoding::Plain && sending.lines == Lines::Jsonl {
        return Err(Problem::Conflict {
            one: "--hex and --base64",
            other: "--input jsonl",
            why: "its objects say themselves how the payload is written",
        });
    }
    if sending.topic.is_none() && sending.lines == Lines::Payload {
        return Err(Problem::Missing {
            what: "no topic",
            remedy: "add -t TOPIC",
        });
    }
    if sending.topic.is_some() && matches!(sending.lines, Lines::TopicAndPayload { .. }) {
        return Err(Problem::Conflict {
            one: "-t",
            other: "--topic-separator",
            why: "each line names its topic",
        });
    }
    Ok(())
}

/// A template is the payload, or makes it of what each line says.
fn template(settings: &Settings) -> Result<(), Problem> {
    let sending = &settings.sending;
    let Some(template) = &sending.template else {
        return Ok(());
    };
    match sending.source {
        Source::None if template.wants_line() => Err(Problem::Missing {
            what: "--template: {{line}} is what a line of standard input says",
            remedy: "add -l",
        }),
        Source::StdinLines | Source::None => Ok(()),
        Source::Text(_) | Source::File(_) | Source::StdinAll | Source::Null | Source::Size(_) => {
            Err(Problem::TwoPayloads {
                option: "--template",
            })
        }
    }
}

fn rate(settings: &Settings) -> Result<(), Problem> {
    let sending = &settings.sending;
    if sending.rate.is_none() {
        return Ok(());
    }
    if !sending.repeat_delay.is_zero() {
        return Err(Problem::Conflict {
            one: "--rate",
            other: "--repeat-delay",
            why: "both say when the next message leaves",
        });
    }
    if sending.repeat == 1 && sending.source != Source::StdinLines {
        return Err(Problem::Missing {
            what: "--rate: there is only one message",
            remedy: "add --repeat COUNT or -l",
        });
    }
    Ok(())
}

fn only_in_v5(settings: &Settings) -> Result<(), Problem> {
    let receiving = &settings.receiving;
    let session = &settings.session;
    let lists = [
        &session.connect,
        &session.disconnect,
        &settings.sending.properties,
        &settings.will.properties,
        &receiving.subscribe,
        &receiving.unsubscribe_properties,
    ];
    let option = if session.expiry_s.is_some() {
        "-x"
    } else if lists.iter().any(|list| !list.is_empty()) {
        "a property"
    } else if receiving.retain_as_published {
        "--retain-as-published"
    } else if receiving.retain_handling.is_some() {
        "--retain-handling"
    } else if settings.program == Program::Pub && settings.sending.response_topic.is_some() {
        "-e"
    } else {
        return Ok(());
    };
    Err(Problem::NotInThisVersion(option))
}

/// No property twice, each in its range.
fn properties(settings: &Settings) -> Result<(), Problem> {
    let lists: [(&'static str, Place, &Properties); 6] = [
        (
            "connect",
            Place::Packet(PacketType::Connect),
            &settings.session.connect,
        ),
        (
            "publish",
            Place::Packet(PacketType::Publish),
            &settings.sending.properties,
        ),
        (
            "subscribe",
            Place::Packet(PacketType::Subscribe),
            &settings.receiving.subscribe,
        ),
        (
            "unsubscribe",
            Place::Packet(PacketType::Unsubscribe),
            &settings.receiving.unsubscribe_properties,
        ),
        (
            "disconnect",
            Place::Packet(PacketType::Disconnect),
            &settings.session.disconnect,
        ),
        ("will", Place::Will, &settings.will.properties),
    ];
    for (packet, place, list) in lists {
        let problem = match list.flaw(place, settings.dialect) {
            None => continue,
            Some(Flaw::Twice(id)) => PropertyProblem::Twice {
                packet,
                property: hyphenated(id),
            },
            Some(Flaw::OutOfRange(id)) => PropertyProblem::OutOfRange {
                packet,
                property: hyphenated(id),
            },
        };
        return Err(Problem::Property(problem));
    }
    Ok(())
}
