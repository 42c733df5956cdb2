//! What each option does to the settings: one arm for each, in the groups of the table.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each function knows the options of its group and leaves the others to the next"
)]

mod output;
mod tls;

use std::ffi::OsStr;

use martlet_codec::{PropertyId, QoS, Version};

use super::numbers::{self, Range, atof, duration, strtol, topic};
use super::problem::{Problem, What};
use super::table::{Opt, Spec};
use super::url;
use crate::pace::Rate;
use crate::programs::{Dialect, Program};
use crate::properties::Value;
use crate::settings::{
    AskedVersion, Encoding, Lines, RetainHandling, Secret, Settings, Source, Subscription,
};
use crate::template::Template;

/// Applies one option with its value (empty for a switch).
pub(super) fn apply(
    spec: &'static Spec,
    value: &OsStr,
    settings: &mut Settings,
) -> Result<(), Problem> {
    let word = Word {
        spec,
        value,
        dialect: settings.dialect,
    };
    for group in [
        broker,
        session,
        sending,
        message_properties,
        receiving,
        output::output,
        will,
        tls::tls,
    ] {
        if group(&word, settings)? {
            break;
        }
    }
    Ok(())
}

/// An option with its value.
struct Word<'a> {
    spec: &'static Spec,
    value: &'a OsStr,
    dialect: Dialect,
}

impl Word<'_> {
    fn option(&self) -> &'static str {
        self.spec.name()
    }

    fn text(&self) -> Result<&str, Problem> {
        let option = self.option();
        self.value.to_str().ok_or(Problem::NotUtf8 { option })
    }

    fn owned(&self) -> Result<String, Problem> {
        self.text().map(str::to_owned)
    }

    fn bytes(&self) -> Vec<u8> {
        self.value.as_encoded_bytes().to_vec()
    }

    fn number(&self, least: i64, most: i64, wants: &'static str) -> Result<i64, Problem> {
        let range = Range {
            option: self.option(),
            least,
            most,
            wants,
        };
        range.read(&self.value.to_string_lossy(), self.dialect)
    }

    fn seconds(&self) -> Result<u32, Problem> {
        let number = self.number(0, i64::from(u32::MAX), "a number of seconds")?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn qos(&self) -> Result<QoS, Problem> {
        let number = self.number(0, 2, "0, 1 or 2")?;
        Ok(match number {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        })
    }

    fn topic(&self, what: What) -> Result<String, Problem> {
        topic(what, self.option(), self.text()?, self.dialect)
    }

    fn flawed(&self, why: &dyn std::fmt::Display) -> Problem {
        Problem::Flawed {
            option: self.option(),
            why: why.to_string(),
        }
    }

    fn wrong(&self, wants: &'static str) -> Problem {
        Problem::Value {
            option: self.option(),
            given: self.value.to_string_lossy().into_owned(),
            wants,
        }
    }
}

fn broker(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let broker = &mut settings.broker;
    match word.spec.opt {
        Opt::Host => broker.host = Some(word.owned()?),
        Opt::Port => {
            let least = i64::from(word.dialect == Dialect::Martlet);
            let port = word.number(least, 65_535, "a port from 1 to 65535")?;
            broker.port = u16::try_from(port).ok();
        }
        Opt::Url => return use_url(word, settings).map(|()| true),
        Opt::Unix => broker.unix = Some(word.value.into()),
        Opt::Bind => broker.bind = Some(word.owned()?),
        Opt::Proxy => {
            let proxy = word.owned()?;
            if !proxy.starts_with("socks5h://") {
                return Err(Problem::Proxy(proxy));
            }
            broker.proxy = Some(proxy);
        }
        Opt::NoDelay => {}
        Opt::Srv => {
            return Err(Problem::NotSupported {
                option: "-S",
                why: "SRV records are not looked up; give the host that they name",
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn use_url(word: &Word<'_>, settings: &mut Settings) -> Result<(), Problem> {
    let url = url::parse(word.text()?, word.dialect)?;
    let broker = &mut settings.broker;
    if let Some(path) = url.unix {
        broker.unix = Some(path.into());
    } else {
        broker.host = Some(url.host);
        broker.port = url.port;
    }
    if url.user.is_some() {
        settings.session.user = url.user;
    }
    if let Some(password) = url.password {
        settings.session.password = Some(Secret(password));
    }
    if url.not_plain.is_some() {
        settings.tls.asked_by = url.not_plain;
    }
    match url.topic {
        Some(topic) => add_topic(&topic, "-L topic", settings),
        None => Ok(()),
    }
}

fn add_topic(text: &str, option: &'static str, settings: &mut Settings) -> Result<(), Problem> {
    match settings.program {
        Program::Sub | Program::Get => {
            let filter = topic(What::Subscription, option, text, settings.dialect)?;
            settings
                .receiving
                .subscriptions
                .push(Subscription { filter, qos: None });
        }
        Program::Pub | Program::Rr => {
            settings.sending.topic = Some(topic(What::Publish, option, text, settings.dialect)?);
        }
        Program::Conn => {}
    }
    Ok(())
}

fn session(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let session = &mut settings.session;
    match word.spec.opt {
        Opt::User => session.user = Some(word.owned()?),
        Opt::Password => session.password = Some(Secret(word.bytes())),
        Opt::Id if session.id_prefix.is_some() => return Err(Problem::TwoIds),
        Opt::Id => session.id = Some(word.owned()?),
        Opt::IdPrefix if session.id.is_some() => return Err(Problem::TwoIds),
        Opt::IdPrefix => session.id_prefix = Some(word.owned()?),
        Opt::CleanOff => session.clean = false,
        Opt::Expiry => session.expiry_s = Some(expiry(word)?),
        Opt::KeepAlive => {
            let least = if word.dialect == Dialect::Mosquitto {
                5
            } else {
                0
            };
            let seconds = word.number(least, 65_535, "a number of seconds from 0 to 65535")?;
            session.keep_alive_s = u16::try_from(seconds).unwrap_or(u16::MAX);
        }
        Opt::Version => session.version = version(word)?,
        Opt::Inflight => {
            let most = if word.dialect == Dialect::Mosquitto {
                i64::MAX
            } else {
                65_535
            };
            let count = word.number(1, most, "a number from 1 to 65535")?;
            session.inflight = u16::try_from(count).unwrap_or(u16::MAX);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn expiry(word: &Word<'_>) -> Result<u32, Problem> {
    let text = word.value.to_string_lossy();
    if text == "\u{221e}" {
        return Ok(u32::MAX);
    }
    let wants = "a number of seconds from 0 to 4294967295, or -1";
    let seconds = strtol(&text).ok_or_else(|| word.wrong(wants))?;
    if seconds == -1 {
        return Ok(u32::MAX);
    }
    u32::try_from(seconds).map_err(|_| Problem::Number {
        option: word.option(),
        read: seconds,
        given: text.into_owned(),
        wants,
    })
}

fn version(word: &Word<'_>) -> Result<AskedVersion, Problem> {
    let text = word.value.to_string_lossy();
    let ours = word.dialect == Dialect::Martlet;
    Ok(AskedVersion::Is(match text.as_ref() {
        "5" | "mqttv5" => Version::V5,
        "311" | "mqttv311" => Version::V311,
        "31" | "mqttv31" => Version::V31,
        "5.0" if ours => Version::V5,
        "3.1.1" | "4" if ours => Version::V311,
        "3.1" | "3" if ours => Version::V31,
        "auto" if ours => return Ok(AskedVersion::Auto),
        _ => return Err(word.wrong("a version of MQTT; there are 5, 311, 31 and auto")),
    }))
}

fn sending(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let sending = &mut settings.sending;
    match word.spec.opt {
        Opt::Topic => return add_topic(word.text()?, "-t", settings).map(|()| true),
        Opt::Qos => return word.qos().map(|qos| set_qos(qos, settings)).map(|()| true),
        Opt::Message => {
            let bytes = word.bytes();
            if bytes.len() > numbers::PAYLOAD_MAX {
                return Err(word.wrong("short enough for one message"));
            }
            give_payload(word, sending, Source::Text(bytes))?;
        }
        Opt::File => give_payload(word, sending, Source::File(word.value.to_owned()))?,
        Opt::StdinAll => give_payload(word, sending, Source::StdinAll)?,
        Opt::StdinLines => give_payload(word, sending, Source::StdinLines)?,
        Opt::Null => give_payload(word, sending, Source::Null)?,
        Opt::Size => {
            let size = numbers::size(word.option(), &word.value.to_string_lossy())?;
            give_payload(word, sending, Source::Size(size))?;
        }
        Opt::Hex => sending.encoding = Encoding::Hex,
        Opt::Base64 => sending.encoding = Encoding::Base64,
        Opt::Input if word.value == "jsonl" => sending.lines = Lines::Jsonl,
        Opt::Input => return Err(word.wrong("a form of input; there is jsonl")),
        Opt::TopicSeparator => {
            let separator = word.owned()?;
            if separator.is_empty() {
                return Err(word.wrong("a text between topic and payload"));
            }
            sending.lines = Lines::TopicAndPayload { separator };
        }
        Opt::Retain => sending.retain = true,
        Opt::Repeat => {
            let count = word.number(1, i64::from(u32::MAX), "a number of times, at least 1")?;
            sending.repeat = u32::try_from(count).unwrap_or(u32::MAX);
        }
        Opt::RepeatDelay => sending.repeat_delay = repeat_delay(word)?,
        Opt::Rate => {
            let rate = Rate::parse(&word.value.to_string_lossy());
            sending.rate = Some(rate.ok_or_else(|| word.wrong(A_RATE))?);
        }
        Opt::Template => {
            let template = Template::parse(word.value.as_encoded_bytes());
            sending.template = Some(template.map_err(|error| word.flawed(&error))?);
        }
        Opt::Retry => sending.retry = true,
        Opt::Strict => sending.strict = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The QoS of what stands before it, and of what comes behind unless it says so itself.
fn set_qos(qos: QoS, settings: &mut Settings) {
    settings.sending.qos = qos;
    if settings.dialect == Dialect::Martlet {
        for subscription in &mut settings.receiving.subscriptions {
            subscription.qos.get_or_insert(qos);
        }
    }
}

fn give_payload(
    word: &Word<'_>,
    sending: &mut crate::settings::Sending,
    source: Source,
) -> Result<(), Problem> {
    if sending.source != Source::None {
        return Err(Problem::TwoPayloads {
            option: word.option(),
        });
    }
    sending.source = source;
    Ok(())
}

fn repeat_delay(word: &Word<'_>) -> Result<std::time::Duration, Problem> {
    let text = word.value.to_string_lossy();
    if word.dialect == Dialect::Martlet {
        return duration(word.option(), &text);
    }
    std::time::Duration::try_from_secs_f64(atof(&text)).map_err(|_| Problem::Number {
        option: word.option(),
        read: -1,
        given: text.into_owned(),
        wants: "a time",
    })
}

fn message_properties(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let properties = &mut settings.sending.properties;
    match word.spec.opt {
        Opt::MessageExpiry => {
            properties.push(
                PropertyId::MessageExpiryInterval,
                Value::Number(word.seconds()?),
            );
        }
        Opt::ContentType => properties.push(PropertyId::ContentType, Value::Text(word.owned()?)),
        Opt::CorrelationData => {
            properties.push(PropertyId::CorrelationData, Value::Bytes(word.bytes()));
        }
        Opt::UserProperty => {
            let pair = word.text()?.split_once('=');
            let (key, value) = pair.ok_or_else(|| word.wrong("KEY=VALUE"))?;
            properties.push(
                PropertyId::UserProperty,
                Value::Pair(key.to_owned(), value.to_owned()),
            );
        }
        Opt::ResponseTopic => settings.sending.response_topic = Some(word.topic(What::Response)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn receiving(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let receiving = &mut settings.receiving;
    match word.spec.opt {
        Opt::Count => {
            let count = word.number(1, i64::MAX, "a number of messages, at least 1")?;
            receiving.count = u64::try_from(count).ok();
        }
        Opt::Timeout => receiving.timeout = Some(timeout(word)?),
        Opt::Idle => receiving.idle = Some(duration(word.option(), &word.value.to_string_lossy())?),
        Opt::ExitAfterSubscribe => receiving.exit_after_subscribe = true,
        Opt::FilterOut => receiving.filter_out.push(word.topic(What::Filter)?),
        Opt::Unsubscribe => receiving.unsubscribe.push(word.topic(What::Unsubscribe)?),
        Opt::NoRetained => receiving.no_retained = true,
        Opt::RetainedOnly => receiving.retained_only = true,
        Opt::RemoveRetained => receiving.remove_retained = true,
        Opt::RetainAsPublished => receiving.retain_as_published = true,
        Opt::RetainHandling => {
            receiving.retain_handling = Some(match word.value.to_str() {
                Some("always") => RetainHandling::Always,
                Some("new") => RetainHandling::New,
                Some("never") => RetainHandling::Never,
                _ => return Err(word.wrong("always, new or never")),
            });
        }
        Opt::NoReconnect => receiving.no_reconnect = true,
        Opt::Any => receiving.any = true,
        Opt::Latency => receiving.latency = true,
        _ => return Ok(false),
    }
    Ok(true)
}

fn timeout(word: &Word<'_>) -> Result<std::time::Duration, Problem> {
    if word.dialect == Dialect::Mosquitto {
        let seconds = word.number(1, i64::from(u32::MAX), "a number of seconds")?;
        return Ok(std::time::Duration::from_secs(
            u64::try_from(seconds).unwrap_or(1),
        ));
    }
    let time = duration(word.option(), &word.value.to_string_lossy())?;
    if time.is_zero() {
        return Err(word.wrong("more than no time"));
    }
    Ok(time)
}

fn will(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let will = &mut settings.will;
    match word.spec.opt {
        Opt::WillTopic => will.topic = Some(word.topic(What::Will)?),
        Opt::WillPayload => will.payload = Some(word.bytes()),
        Opt::WillQos => will.qos = word.qos()?,
        Opt::WillRetain => will.retain = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What `--rate` takes.
const A_RATE: &str = "a rate; write 10, 0.5, 100/m or 3600/h: messages a second, a minute, an hour";
