//! THE table of options: names, value, which program takes them, one line of help.
//!
//! The parser, `--help`, the completions of four shells and the man page are made from it. What an option does
//! stands in `apply`, one arm for each [`Opt`].

use crate::programs::{Dialect, Program, Programs};

/// Which option it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opt {
    Host,
    Port,
    Unix,
    Url,
    Bind,
    Proxy,
    NoDelay,
    Srv,
    User,
    Password,
    PasswordFile,
    PasswordEnv,
    Id,
    IdPrefix,
    CleanOff,
    Expiry,
    KeepAlive,
    Version,
    Inflight,
    Property,
    Topic,
    Qos,
    Message,
    File,
    StdinAll,
    StdinLines,
    Null,
    Hex,
    Base64,
    Size,
    Input,
    TopicSeparator,
    Retain,
    Repeat,
    RepeatDelay,
    Rate,
    Template,
    Retry,
    Strict,
    MessageExpiry,
    ContentType,
    ResponseTopic,
    CorrelationData,
    UserProperty,
    FilterOut,
    Unsubscribe,
    Count,
    ExitAfterSubscribe,
    Timeout,
    Idle,
    NoRetained,
    RetainedOnly,
    RemoveRetained,
    RetainAsPublished,
    RetainHandling,
    NoReconnect,
    Any,
    Latency,
    Format,
    Output,
    Verbose,
    NoEol,
    Pretty,
    RandomFilter,
    Decode,
    ToDir,
    Append,
    Watch,
    MessageRate,
    WillTopic,
    WillPayload,
    WillQos,
    WillRetain,
    CaFile,
    CaPath,
    Cert,
    Key,
    KeyForm,
    Ciphers,
    Insecure,
    TlsVersion,
    TlsAlpn,
    TlsEngine,
    TlsEngineKpass,
    TlsOsCerts,
    Psk,
    PskIdentity,
    ServerName,
    NoTls,
    Ws,
    Probe,
    OptionsFile,
    Profile,
    Debug,
    Quiet,
    Help,
    ProgramVersion,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) opt: Opt,
    /// The first is the one that messages use.
    pub(crate) names: &'static [&'static str],
    /// Further names that mosquitto does not know.
    pub(crate) also: &'static [&'static str],
    /// The value's name, empty for a switch; -D has a value for show only.
    pub(crate) value: &'static str,
    /// What mosquitto's text says is missing.
    pub(crate) noun: &'static str,
    /// Who takes it here.
    pub(crate) own: Programs,
    /// Who takes it under mosquitto's names.
    pub(crate) mosquitto: Programs,
    pub(crate) help: &'static str,
    /// What a shell may offer for the value.
    pub(crate) offer: Offer,
}

/// What a shell may offer for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Nothing,
    Files,
    Words(&'static [&'static str]),
    /// One of the words, and files behind it.
    WordsThenFiles(&'static [&'static str]),
}

/// Options under one heading.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) options: &'static [Spec],
}

/// The option of this name, if this program takes it.
pub(crate) fn find(name: &str, program: Program, dialect: Dialect) -> Option<&'static Spec> {
    for group in GROUPS {
        for spec in group.options {
            let found = match dialect {
                Dialect::Martlet => {
                    let own = spec.names.contains(&name) || spec.also.contains(&name);
                    own && spec.own.has(program)
                }
                Dialect::Mosquitto => spec.names.contains(&name) && spec.mosquitto.has(program),
            };
            if found {
                return Some(spec);
            }
        }
    }
    None
}

/// All options.
#[cfg(test)]
pub(super) fn specs() -> impl Iterator<Item = &'static Spec> {
    GROUPS.iter().flat_map(|group| group.options)
}

impl Spec {
    /// The name that messages use.
    pub(crate) fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The names here.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().chain(self.also).copied()
    }

    pub(crate) const fn takes_value(&self) -> bool {
        !self.value.is_empty()
    }

    const fn only(mut self, own: Programs) -> Self {
        self.own = own;
        self
    }

    const fn mosquitto(mut self, programs: Programs) -> Self {
        self.mosquitto = programs;
        self
    }

    const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.also = names;
        self
    }

    const fn files(mut self) -> Self {
        self.offer = Offer::Files;
        self
    }

    const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.offer = Offer::Words(words);
        self
    }
}

const fn switch(opt: Opt, names: &'static [&'static str], help: &'static str) -> Spec {
    valued(opt, names, "", "", help)
}

const fn valued(
    opt: Opt,
    names: &'static [&'static str],
    value: &'static str,
    noun: &'static str,
    help: &'static str,
) -> Spec {
    Spec {
        opt,
        names,
        also: &[],
        value,
        noun,
        own: Programs::ALL,
        mosquitto: Programs::NONE,
        help,
        offer: Offer::Nothing,
    }
}

const QOS: &[&str] = &["0", "1", "2"];
const VERSIONS: &[&str] = &["5", "311", "31", "auto"];
const OUTPUTS: &[&str] = &["text", "json", "raw"];
const FORMS: &[&str] = &["json", "cbor", "msgpack", "protobuf"];
const HANDLINGS: &[&str] = &["always", "new", "never"];
const SUB_AND_GET: Programs = Programs::SUB.and(Programs::GET);
const SUB_AND_RR: Programs = Programs::SUB.and(Programs::RR);

/// The table.
#[rustfmt::skip]
pub(crate) const GROUPS: &[Group] = &[
    Group { title: "Broker", options: &[
        valued(Opt::Host, &["-h", "--host"], "HOST", "host", "The broker's name or address [localhost]").mosquitto(Programs::THREE),
        valued(Opt::Port, &["-p", "--port"], "PORT", "port", "Its port [1883]").mosquitto(Programs::THREE),
        valued(Opt::Url, &["-L", "--url"], "URL", "URL", "mqtt://[USER[:PASSWORD]@]HOST[:PORT][/TOPIC], or unix:PATH; may also stand without -L").mosquitto(Programs::THREE),
        valued(Opt::Unix, &["--unix"], "PATH", "socket path", "Connect through a Unix domain socket").mosquitto(Programs::THREE).files(),
        valued(Opt::Bind, &["-A"], "ADDRESS", "address", "Local address to connect from").mosquitto(Programs::THREE).also(&["--bind"]),
        valued(Opt::Proxy, &["--proxy"], "URL", "proxy url", "SOCKS5 proxy (not supported yet)").mosquitto(Programs::THREE),
        switch(Opt::NoDelay, &["--nodelay"], "Send small packets at once (always so here)").mosquitto(Programs::THREE),
        switch(Opt::Srv, &["-S"], "Find the broker by SRV records (not supported)"),
    ] },
    Group { title: "Session", options: &[
        valued(Opt::User, &["-u", "--username"], "NAME", "username", "User name").mosquitto(Programs::THREE),
        valued(Opt::Password, &["-P", "--pw"], "PASSWORD", "password", "Password; - asks for it. Others can see it in the process list: prefer --password-file").mosquitto(Programs::THREE),
        valued(Opt::PasswordFile, &["--password-file"], "FILE", "file", "Read the password from the first line of a file").files(),
        valued(Opt::PasswordEnv, &["--password-env"], "VARIABLE", "variable", "Read the password from an environment variable"),
        valued(Opt::Id, &["-i", "--id"], "ID", "id", "Client identifier [the broker chooses one]").mosquitto(Programs::THREE),
        valued(Opt::IdPrefix, &["-I", "--id-prefix"], "PREFIX", "id prefix", "Client identifier: this and the process id").mosquitto(Programs::THREE),
        switch(Opt::CleanOff, &["-c", "--disable-clean-session"], "Take up the session that the broker keeps; needs -i").mosquitto(Programs::THREE).also(&["--no-clean", "--no-clean-start"]),
        valued(Opt::Expiry, &["-x"], "SECONDS", "session expiry interval", "How long the broker keeps the session; -1: for ever").mosquitto(Programs::THREE).also(&["--session-expiry"]),
        valued(Opt::KeepAlive, &["-k", "--keepalive"], "SECONDS", "keepalive", "Keep-alive in seconds [60]").mosquitto(Programs::THREE),
        valued(Opt::Version, &["-V", "--protocol-version"], "VERSION", "version", "Protocol version: 5, 311, 31, or auto (5, else 311) [5]").mosquitto(Programs::THREE).words(VERSIONS),
        valued(Opt::Inflight, &["-M"], "COUNT", "max_inflight", "Unacknowledged messages at a time [20]").mosquitto(Programs::THREE).also(&["--max-inflight"]),
        valued(Opt::Property, &["-D", "--property"], "PACKET NAME [KEY] VALUE", "", "A property of MQTT 5, such as: -D publish user-property colour blue").mosquitto(Programs::THREE),
    ] },
    Group { title: "Messages to send", options: &[
        valued(Opt::Topic, &["-t", "--topic"], "TOPIC", "topic", "Topic; for sub a filter, may be repeated").mosquitto(Programs::THREE).only(Programs::THREE.and(Programs::GET)),
        valued(Opt::Qos, &["-q", "--qos"], "QOS", "QoS", "QoS 0, 1 or 2 [0]; for sub: of the filters before it").mosquitto(Programs::THREE).only(Programs::THREE.and(Programs::GET)).words(QOS),
        valued(Opt::Message, &["-m", "--message"], "TEXT", "message", "The payload").only(Programs::SENDERS).mosquitto(Programs::SENDERS),
        valued(Opt::File, &["-f", "--file"], "FILE", "file", "The payload is the file's content").only(Programs::SENDERS).mosquitto(Programs::SENDERS).files(),
        switch(Opt::StdinAll, &["-s", "--stdin-file"], "The payload is all of standard input").only(Programs::SENDERS).mosquitto(Programs::SENDERS),
        switch(Opt::StdinLines, &["-l", "--stdin-line"], "One message for each line of standard input").only(Programs::PUB).mosquitto(Programs::PUB),
        switch(Opt::Null, &["-n", "--null-message"], "An empty payload").only(Programs::SENDERS).mosquitto(Programs::SENDERS),
        switch(Opt::Hex, &["--hex"], "Payloads of -m, -f, -s and -l are hexadecimal digits").only(Programs::SENDERS),
        switch(Opt::Base64, &["--base64"], "Payloads of -m, -f, -s and -l are base64").only(Programs::SENDERS),
        valued(Opt::Size, &["--size"], "BYTES", "size", "A payload of so many bytes, such as 1KB").only(Programs::SENDERS),
        valued(Opt::Template, &["--template"], "TEXT", "text", "A payload with fields: {{n}} {{time}} {{unix}} {{unix_ms}} {{topic}} {{random:LOW:HIGH}}; with -l also {{line}}").only(Programs::PUB),
        valued(Opt::Input, &["--input"], "jsonl", "format", "With -l: lines are objects as `sub --output json` prints them").only(Programs::PUB).words(&["jsonl"]),
        valued(Opt::TopicSeparator, &["--topic-separator"], "TEXT", "text", "With -l: each line is a topic, this text, a payload").only(Programs::PUB),
        switch(Opt::Retain, &["-r", "--retain"], "The broker keeps the message for later subscribers").only(Programs::PUB).mosquitto(Programs::PUB),
        valued(Opt::Repeat, &["--repeat"], "COUNT", "count", "Send the message so many times").only(Programs::PUB).mosquitto(Programs::PUB),
        valued(Opt::RepeatDelay, &["--repeat-delay"], "SECONDS", "time", "Wait between repeats [0]").only(Programs::PUB).mosquitto(Programs::PUB),
        valued(Opt::Rate, &["--rate"], "RATE", "rate", "With --repeat or -l: no more messages than so many a second; 10, 0.5, 100/m, 3600/h").only(Programs::PUB),
        switch(Opt::Retry, &["--retry"], "Keep trying while the broker is away").only(Programs::PUB),
        switch(Opt::Strict, &["--strict"], "As mosquitto_pub: end with the reason code when the broker refuses a message (always so here)").only(Programs::PUB).mosquitto(Programs::PUB),
        valued(Opt::MessageExpiry, &["--expiry"], "SECONDS", "time", "The message is void after so many seconds (MQTT 5)").only(Programs::SENDERS),
        valued(Opt::ContentType, &["--content-type"], "TYPE", "type", "What the payload is, such as application/json (MQTT 5)").only(Programs::SENDERS),
        valued(Opt::ResponseTopic, &["-e"], "TOPIC", "response topic", "Where the answer is expected; rr: a topic of its own if not given").only(Programs::SENDERS).mosquitto(Programs::RR).also(&["--response-topic"]),
        valued(Opt::CorrelationData, &["--correlation-data"], "TEXT", "data", "Comes back with the answer (MQTT 5)").only(Programs::SENDERS),
        valued(Opt::UserProperty, &["--user-property"], "KEY=VALUE", "pair", "A user property of the message (MQTT 5); may be repeated").only(Programs::SENDERS),
    ] },
    Group { title: "Messages to receive", options: &[
        valued(Opt::Count, &["-C"], "COUNT", "count", "End after so many messages").only(Programs::SUB).mosquitto(Programs::SUB).also(&["--count"]),
        valued(Opt::Timeout, &["-W"], "TIME", "timeout", "End after so long, with exit code 27; 5, 500ms, 2m").mosquitto(SUB_AND_RR).also(&["--timeout"]),
        valued(Opt::Idle, &["--idle"], "TIME", "time", "End when nothing has arrived for so long").only(SUB_AND_GET),
        switch(Opt::ExitAfterSubscribe, &["-E"], "End as soon as the broker has acknowledged the subscriptions").only(Programs::SUB).mosquitto(Programs::SUB),
        valued(Opt::FilterOut, &["-T", "--filter-out"], "FILTER", "topic filter", "Do not print messages that match; may be repeated").only(Programs::SUB).mosquitto(Programs::SUB),
        valued(Opt::Unsubscribe, &["-U", "--unsubscribe"], "FILTER", "unsubscribe topic", "Unsubscribe; may be repeated").only(Programs::SUB).mosquitto(Programs::SUB),
        switch(Opt::NoRetained, &["-R"], "No retained messages that are older than the subscription").only(SUB_AND_RR).mosquitto(SUB_AND_RR),
        switch(Opt::RetainedOnly, &["--retained-only"], "Only retained messages; end when all have come").only(Programs::SUB).mosquitto(Programs::SUB),
        switch(Opt::RemoveRetained, &["--remove-retained"], "Remove from the broker each retained message that arrives").only(Programs::SUB).mosquitto(Programs::SUB),
        switch(Opt::RetainAsPublished, &["--retain-as-published"], "Keep the retain flag that the publisher gave (MQTT 5)").only(SUB_AND_RR).mosquitto(SUB_AND_RR),
        valued(Opt::RetainHandling, &["--retain-handling"], "WHEN", "policy", "Send retained messages always, for new subscriptions, or never (MQTT 5)").only(Programs::SUB).words(HANDLINGS),
        switch(Opt::NoReconnect, &["--no-reconnect"], "End when the connection is lost").only(Programs::SUB),
        switch(Opt::Any, &["--any"], "Go on as long as one subscription is granted").only(Programs::SUB),
        switch(Opt::Latency, &["--latency"], "Say on standard error how long the response took").only(Programs::RR),
    ] },
    Group { title: "Output", options: &[
        valued(Opt::Format, &["-F"], "FORMAT", "format", "Print so, such as '%t %p'; see `martlet man`").only(Programs::READERS).mosquitto(SUB_AND_RR).also(&["--format"]),
        valued(Opt::Output, &["--output"], "KIND", "kind", "text, json (an object a line) or raw (payloads as they are)").only(Programs::READERS.and(Programs::CONN)).words(OUTPUTS),
        switch(Opt::Verbose, &["-v", "--verbose"], "Print the topic in front of the payload").only(Programs::READERS).mosquitto(SUB_AND_RR),
        switch(Opt::NoEol, &["-N"], "No end of line behind the payload").only(Programs::READERS).mosquitto(SUB_AND_RR),
        switch(Opt::Pretty, &["--pretty"], "JSON over several lines").only(Programs::READERS).mosquitto(SUB_AND_RR),
        valued(Opt::RandomFilter, &["--random-filter"], "PERCENT", "chance", "Print only so many of a hundred messages").only(Programs::SUB).mosquitto(Programs::SUB),
        valued(Opt::Decode, &["--decode"], "FORM", "form", "Print payloads of this form as JSON: json, cbor, msgpack or protobuf; several with commas are tried in turn").only(Programs::READERS).words(FORMS),
        valued(Opt::ToDir, &["--to-dir"], "FOLDER", "folder", "Not to standard output: keep the newest message of each topic in a file there, named after the topic").only(SUB_AND_GET).files(),
        valued(Opt::Append, &["--append"], "FILE", "file", "Not to standard output: append whole messages to a file").only(SUB_AND_GET).files(),
        switch(Opt::Watch, &["-w", "--watch"], "A line for each topic, rewritten in place; wants a terminal").only(Programs::SUB),
        switch(Opt::MessageRate, &["--message-rate"], "Print each second how many messages came, not the messages").only(Programs::SUB),
        switch(Opt::Debug, &["-d", "--debug"], "Say what is sent and received").mosquitto(Programs::THREE),
        switch(Opt::Quiet, &["--quiet"], "No messages about errors").mosquitto(Programs::THREE),
    ] },
    Group { title: "Will", options: &[
        valued(Opt::WillTopic, &["--will-topic"], "TOPIC", "will topic", "The broker publishes to this topic when this client vanishes").mosquitto(Programs::THREE).only(Programs::THREE),
        valued(Opt::WillPayload, &["--will-payload"], "TEXT", "will payload", "What it publishes [nothing]").mosquitto(Programs::THREE).only(Programs::THREE),
        valued(Opt::WillQos, &["--will-qos"], "QOS", "will QoS", "At which QoS [0]").mosquitto(Programs::THREE).only(Programs::THREE).words(QOS),
        switch(Opt::WillRetain, &["--will-retain"], "And keeps it").mosquitto(Programs::THREE).only(Programs::THREE),
    ] },
    Group { title: "TLS and WebSocket (understood; not supported yet)", options: &[
        valued(Opt::CaFile, &["--cafile"], "FILE", "file", "Trusted certificates").mosquitto(Programs::THREE).files(),
        valued(Opt::CaPath, &["--capath"], "FOLDER", "directory", "Folder of trusted certificates").mosquitto(Programs::THREE).files(),
        valued(Opt::Cert, &["--cert"], "FILE", "file", "Our certificate").mosquitto(Programs::THREE).files(),
        valued(Opt::Key, &["--key"], "FILE", "file", "Its key").mosquitto(Programs::THREE).files(),
        valued(Opt::KeyForm, &["--keyform"], "FORM", "keyform", "pem or engine").mosquitto(Programs::THREE),
        valued(Opt::Ciphers, &["--ciphers"], "LIST", "ciphers", "Ciphers to offer").mosquitto(Programs::THREE),
        switch(Opt::Insecure, &["--insecure"], "Do not check the broker's name").mosquitto(Programs::THREE),
        valued(Opt::TlsVersion, &["--tls-version"], "VERSION", "version", "tlsv1.2 or tlsv1.3").mosquitto(Programs::THREE),
        valued(Opt::TlsAlpn, &["--tls-alpn"], "PROTOCOL", "protocol", "Application protocol to ask for").mosquitto(Programs::THREE),
        valued(Opt::TlsEngine, &["--tls-engine"], "ENGINE", "engine_id", "OpenSSL engine").mosquitto(Programs::THREE),
        valued(Opt::TlsEngineKpass, &["--tls-engine-kpass-sha1"], "SHA1", "kpass sha1", "Its key's password").mosquitto(Programs::THREE),
        switch(Opt::TlsOsCerts, &["--tls-use-os-certs"], "Trust what the system trusts").mosquitto(Programs::THREE),
        valued(Opt::Psk, &["--psk"], "HEX", "key", "Pre-shared key").mosquitto(Programs::THREE),
        valued(Opt::PskIdentity, &["--psk-identity"], "NAME", "identity", "Its name").mosquitto(Programs::THREE),
        valued(Opt::ServerName, &["--servername"], "NAME", "name", "The name that the certificate must have"),
        switch(Opt::NoTls, &["--no-tls"], "No TLS, whatever the port"),
        switch(Opt::Ws, &["--ws"], "Through WebSocket"),
    ] },
    Group { title: "Probe", options: &[
        switch(Opt::Probe, &["--probe"], "Also try QoS, retained messages, shared subscriptions and limits").only(Programs::CONN),
    ] },
    Group { title: "Other", options: &[
        valued(Opt::OptionsFile, &["-o"], "FILE", "options file", "Read options from a file, one a line").files().also(&["--options-file"]),
        valued(Opt::Profile, &["--profile"], "NAME", "name", "Read options from martlet/profiles/NAME in the configuration folder"),
        switch(Opt::Help, &["--help"], "This text").mosquitto(Programs::THREE),
        switch(Opt::ProgramVersion, &["--version"], "The program's version").mosquitto(Programs::THREE),
    ] },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Opt, find, specs};
    use crate::programs::{Dialect, Program, Programs};

    #[test]
    fn no_name_stands_twice_and_every_row_says_something() {
        let mut seen = BTreeSet::new();
        for spec in specs() {
            assert!(!spec.help.is_empty() && !spec.names.is_empty(), "{spec:?}");
            for name in spec.all_names() {
                assert!(seen.insert(name), "{name} twice");
            }
        }
    }

    #[test]
    fn what_mosquitto_takes_is_taken_here_by_the_same_program() {
        for spec in specs().filter(|spec| spec.mosquitto != Programs::NONE) {
            for program in Program::ALL {
                assert!(
                    !spec.mosquitto.has(program) || spec.own.has(program),
                    "{spec:?}"
                );
            }
        }
    }

    #[test]
    fn h_is_the_host() {
        for dialect in [Dialect::Martlet, Dialect::Mosquitto] {
            let named = |name| find(name, Program::Sub, dialect).map(|spec| spec.opt);
            assert_eq!(named("-h"), Some(Opt::Host));
            assert_eq!(named("--help"), Some(Opt::Help));
        }
    }

    #[test]
    fn names_of_ours_do_not_exist_under_mosquittos_names() {
        assert!(find("--count", Program::Sub, Dialect::Martlet).is_some());
        assert!(find("--count", Program::Sub, Dialect::Mosquitto).is_none());
        assert!(find("-C", Program::Pub, Dialect::Mosquitto).is_none());
    }
}
