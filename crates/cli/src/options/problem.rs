//! What is wrong with a command line: in our words with the remedy, and in mosquitto's.

use std::fmt;

use crate::format::FormatError;
use crate::options::table::Spec;

/// What is wrong with a command line.
#[derive(Debug)]
pub(crate) enum Problem {
    UnknownOption(String),
    /// A word that is no option.
    Unexpected(String),
    NoValue(&'static Spec),
    ValueOfSwitch(&'static Spec),
    /// A value that is none: the option, what was given, what it wants.
    Value {
        option: &'static str,
        given: String,
        wants: &'static str,
    },
    /// A number that is out of range; mosquitto prints what it read.
    Number {
        option: &'static str,
        read: i64,
        given: String,
        wants: &'static str,
    },
    NotUtf8 {
        option: &'static str,
    },
    Topic {
        what: What,
        option: &'static str,
        given: String,
        why: String,
    },
    /// What is wrong inside a value, with the remedy.
    Flawed {
        option: &'static str,
        why: String,
    },
    TwoPayloads {
        option: &'static str,
    },
    TwoIds,
    UrlScheme(String),
    UrlTopic(String),
    Format(FormatError),
    Property(PropertyProblem),
    Proxy(String),
    File {
        name: String,
        why: String,
    },
    WillWithoutTopic {
        option: &'static str,
    },
    CertWithoutKey,
    KeyFormWithoutKey,
    KpassWithoutEngine,
    PskAndCertificates,
    PskWithoutIdentity,
    NoIdForEver,
    NoIdToResume,
    NoFilter,
    NotInThisVersion(&'static str),
    Missing {
        what: &'static str,
        remedy: &'static str,
    },
    Conflict {
        one: &'static str,
        other: &'static str,
        why: &'static str,
    },
    NotSupported {
        option: &'static str,
        why: &'static str,
    },
}

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Publish,
    Response,
    Subscription,
    Filter,
    Unsubscribe,
    Will,
}

/// What is wrong with -D.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PropertyProblem {
    TooFew,
    NoPacket(String),
    NoProperty(String),
    NotAllowed {
        property: String,
        packet: &'static str,
    },
    NotSupported {
        property: String,
        packet: &'static str,
    },
    Number {
        property: String,
        read: i64,
        given: String,
    },
    TooLong {
        property: String,
    },
    NotUtf8 {
        property: String,
    },
    Twice {
        packet: &'static str,
        property: String,
    },
    OutOfRange {
        packet: &'static str,
        property: String,
    },
}

impl fmt::Display for Problem {
    #[expect(clippy::too_many_lines, reason = "one arm for each problem")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption(name) => {
                write!(f, "there is no option '{name}' here; --help lists them")
            }
            Self::Unexpected(word) => write!(f, "'{word}' is no option; --help lists them"),
            Self::NoValue(spec) => write!(f, "{} wants a value: {0} {}", spec.name(), spec.value),
            Self::ValueOfSwitch(spec) => write!(f, "{} takes no value", spec.name()),
            Self::Value {
                option,
                given,
                wants,
            }
            | Self::Number {
                option,
                given,
                wants,
                ..
            } => {
                write!(f, "{option}: '{given}' is not {wants}")
            }
            Self::NotUtf8 { option } => write!(f, "{option}: not UTF-8; MQTT has no other text"),
            Self::Topic {
                what,
                option,
                given,
                why,
            } => {
                write!(f, "{option}: '{given}' is no {}: {why}", what.name())
            }
            Self::Flawed { option, why } => write!(f, "{option}: {why}"),
            Self::TwoPayloads { option } => write!(
                f,
                "{option}: there is a payload already; give one of -m -f -s -l -n --size --template"
            ),
            Self::TwoIds => f.write_str("-i and -I exclude each other; give one"),
            Self::UrlScheme(url) => write!(
                f,
                "'{url}' is no URL for MQTT; write mqtt://HOST[:PORT][/TOPIC] or unix:PATH"
            ),
            Self::UrlTopic(url) => write!(f, "'{url}' has no topic"),
            Self::Format(error) => write!(f, "-F: {error}"),
            Self::Property(problem) => write!(f, "-D: {problem}"),
            Self::Proxy(url) => write!(
                f,
                "--proxy: '{url}' is no SOCKS5 proxy; write socks5h://HOST[:PORT]"
            ),
            Self::File { name, why } => write!(f, "cannot read {name}: {why}"),
            Self::WillWithoutTopic { option } => {
                write!(f, "{option} without --will-topic; say where the will goes")
            }
            Self::CertWithoutKey => f.write_str("--cert and --key go together"),
            Self::KeyFormWithoutKey => f.write_str("--keyform without --key"),
            Self::KpassWithoutEngine => {
                f.write_str("--tls-engine-kpass-sha1 wants --tls-engine and --keyform")
            }
            Self::PskAndCertificates => f.write_str("--psk excludes --cafile and --capath"),
            Self::PskWithoutIdentity => f.write_str("--psk wants --psk-identity"),
            Self::NoIdForEver => {
                f.write_str("a session that never ends needs a name to find it again; add -i ID")
            }
            Self::NoIdToResume => {
                f.write_str("-c takes up a session of this client identifier; add -i ID")
            }
            Self::NoFilter => f.write_str("nothing to subscribe to; add -t FILTER"),
            Self::NotInThisVersion(option) => {
                write!(f, "{option} is of MQTT 5; leave -V out or write -V 5")
            }
            Self::Missing { what, remedy } => write!(f, "{what}; {remedy}"),
            Self::Conflict { one, other, why } => {
                write!(f, "{one} and {other} exclude each other: {why}")
            }
            Self::NotSupported { option, why } => write!(f, "{option} is not supported: {why}"),
        }
    }
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Publish | Self::Will => "topic to publish to",
            Self::Response => "topic for an answer",
            Self::Subscription | Self::Filter | Self::Unsubscribe => "topic filter",
        }
    }
}

impl fmt::Display for PropertyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew => f.write_str("wants PACKET NAME VALUE, such as: publish content-type text/plain; user-property wants a KEY before the VALUE"),
            Self::NoPacket(name) => write!(
                f,
                "'{name}' is no packet; there are connect, publish, subscribe, unsubscribe, disconnect and will"
            ),
            Self::NoProperty(name) => write!(f, "there is no property '{name}'; `martlet man` lists them"),
            Self::NotAllowed { property, packet } => write!(f, "{property} may not stand in {packet}"),
            Self::NotSupported { property, packet } => {
                write!(f, "{property} of {packet}: that packet is not ours to fill")
            }
            Self::Number { property, given, .. } => write!(f, "'{given}' is no value of {property}; it is a whole number in its range"),
            Self::TooLong { property } => write!(f, "{property} is longer than 65,535 bytes"),
            Self::NotUtf8 { property } => write!(f, "{property}: not UTF-8"),
            Self::Twice { packet, property } => write!(f, "{property} stands twice in {packet}; once is allowed"),
            Self::OutOfRange { packet, property } => write!(f, "the {property} of {packet} is out of its range"),
        }
    }
}

impl Problem {
    /// What mosquitto 2.0.11 says, line ends included; scripts look for it.
    pub(crate) fn mosquitto(&self) -> String {
        match self {
            Self::UnknownOption(name) | Self::Unexpected(name) => format!("Error: Unknown option '{name}'.\n"),
            Self::NoValue(spec) => {
                // Its own text has the long name there.
                let name = if spec.name() == "-V" { "--protocol-version" } else { spec.name() };
                if spec.name() == "-M" {
                    return "Error: -M argument given but max_inflight not specified.\n\n".to_owned();
                }
                format!("Error: {name} argument given but no {} specified.\n\n", spec.noun)
            }
            Self::Number { option, read, .. } => number(option, *read),
            Self::Value { option, .. } => value(option),
            Self::NotUtf8 { option } => format!("Error: Malformed UTF-8 in {option} argument.\n\n"),
            Self::Topic { what, given, .. } => topic(*what, given),
            Self::TwoPayloads { .. } => "Error: Only one type of message can be sent at once.\n\n".to_owned(),
            Self::TwoIds => "Error: -i and -I argument cannot be used together.\n\n".to_owned(),
            Self::UrlScheme(_) => "Error: unsupported URL scheme.\n\n".to_owned(),
            Self::UrlTopic(_) => "Error: Invalid URL for -L argument specified - topic missing.\n".to_owned(),
            Self::Format(error) => format(*error),
            Self::Property(problem) => problem.mosquitto(),
            Self::Proxy(url) => format!("Error: Unsupported proxy protocol: {url}\n"),
            Self::WillWithoutTopic { option } => {
                let what = if *option == "--will-payload" { "payload" } else { "retain" };
                format!("Error: Will {what} given, but no will topic given.\n")
            }
            Self::CertWithoutKey => {
                "Error: Both certfile and keyfile must be provided if one of them is set.\n".to_owned()
            }
            Self::KeyFormWithoutKey => "Error: If keyform is set, keyfile must be also specified.\n".to_owned(),
            Self::KpassWithoutEngine => {
                "Error: when using tls-engine-kpass-sha1, both tls-engine and keyform must also be provided.\n"
                    .to_owned()
            }
            Self::PskAndCertificates => {
                "Error: Only one of --psk or --cafile/--capath may be used at once.\n".to_owned()
            }
            Self::PskWithoutIdentity => "Error: --psk-identity required if --psk used.\n".to_owned(),
            Self::NoIdForEver => {
                "Error: You must provide a client id if you are using an infinite session expiry interval.\n".to_owned()
            }
            Self::NoIdToResume => {
                "Error: You must provide a client id if you are using the -c option.\n".to_owned()
            }
            Self::NoFilter => "Error: You must specify a topic to subscribe to.\n".to_owned(),
            Self::ValueOfSwitch(_)
            | Self::Flawed { .. }
            | Self::File { .. }
            | Self::NotInThisVersion(_)
            | Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::NotSupported { .. } => format!("Error: {self}.\n"),
        }
    }
}

fn number(option: &str, read: i64) -> String {
    match option {
        "-p" => format!("Error: Invalid port given: {read}\n"),
        "-q" => format!("Error: Invalid QoS given: {read}\n"),
        "--will-qos" => format!("Error: Invalid will QoS {read}.\n\n"),
        "-C" => format!("Error: Invalid message count \"{read}\".\n\n"),
        "-W" => format!("Error: Invalid timeout \"{read}\".\n\n"),
        "-k" => "Error: Invalid keepalive given, it must be between 5 and 65535 inclusive.\n\n"
            .to_owned(),
        "-M" => "Error: Maximum inflight messages must be greater than 0.\n\n".to_owned(),
        "--repeat" => "Error: --repeat argument must be >0.\n\n".to_owned(),
        "--repeat-delay" => "Error: --repeat-delay argument must be >=0.0.\n\n".to_owned(),
        "--random-filter" => {
            "Error: --random-filter chance must be between 0.1-100.0\n\n".to_owned()
        }
        _ => "Error: session-expiry-interval out of range.\n\n".to_owned(),
    }
}

fn value(option: &str) -> String {
    match option {
        "-V" => "Error: Invalid protocol version argument given.\n\n".to_owned(),
        "-m" => "Error: Message length must be less than 268435455 bytes.\n\n".to_owned(),
        _ => "Error: session-expiry-interval not a number.\n\n".to_owned(),
    }
}

fn topic(what: What, given: &str) -> String {
    let (name, question) = match what {
        What::Publish => ("publish", PLAIN),
        What::Response => ("response", PLAIN),
        What::Will => ("will", PLAIN),
        What::Subscription => ("subscription", WILD),
        What::Filter => ("filter", WILD),
        What::Unsubscribe => ("unsubscribe", WILD),
    };
    format!("Error: Invalid {name} topic '{given}', {question}\n")
}

fn format(error: FormatError) -> String {
    match error {
        FormatError::IncompleteField => "Error: Incomplete format specifier.\n".to_owned(),
        FormatError::UnknownField(kind) => {
            format!("Error: Invalid format specifier '{}'.\n", char::from(kind))
        }
        FormatError::IncompleteEscape => "Error: Incomplete escape specifier.\n".to_owned(),
        FormatError::UnknownEscape(escape) => {
            format!(
                "Error: Invalid escape specifier '{}'.\n",
                char::from(escape)
            )
        }
        FormatError::TooWide => format!("Error: {error}.\n"),
    }
}

impl PropertyProblem {
    fn mosquitto(&self) -> String {
        match self {
            Self::TooFew => {
                "Error: --property argument given but not enough arguments specified.\n\n"
                    .to_owned()
            }
            Self::NoPacket(_) => {
                "Error: Invalid command given in --property argument.\n\n".to_owned()
            }
            Self::NoProperty(_) => {
                "Error: Invalid property name given in --property argument.\n\n".to_owned()
            }
            Self::NotAllowed { property, packet } => {
                format!(
                    "Error: {property} property not allowed for {packet} in --property argument.\n\n"
                )
            }
            Self::NotSupported { property, packet } => {
                format!(
                    "Error: {property} property not supported for {packet} in --property argument.\n\n"
                )
            }
            Self::Number { property, read, .. } => {
                format!("Error: Property value ({read}) out of range for property {property}.\n\n")
            }
            Self::TooLong { property } => {
                format!("Error: Property value too long for property {property}.\n\n")
            }
            Self::NotUtf8 { property } => format!("Error adding property {property} 18\n"),
            Self::Twice { packet, .. } => {
                format!(
                    "Error in {} properties: Duplicate property in property list\n",
                    packet_name(packet)
                )
            }
            Self::OutOfRange { packet, .. } => format!(
                "Error in {} properties: A network protocol error occurred when communicating with the broker.\n",
                packet_name(packet)
            ),
        }
    }
}

fn packet_name(packet: &str) -> String {
    if packet == "will" {
        "Will".to_owned()
    } else {
        packet.to_ascii_uppercase()
    }
}

const PLAIN: &str = "does it contain '+' or '#'?";
const WILD: &str = "are all '+' and '#' wildcards correct?";
