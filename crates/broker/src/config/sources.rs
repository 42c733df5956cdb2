//! File, environment and flags, merged in that order of strength and checked as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::fields::{ENVIRONMENT_PREFIX, FIELDS, Field};
use super::file;
use super::problem::{Origin, Problem, Problems, nearest};
use super::value::{Kind, Value};
use super::{Access, Config, Listener};

/// Everything that was said about the configuration, not yet checked as a whole.
///
/// Each call overrides what earlier calls said: give the file first, then the environment, then the flags.
#[derive(Debug, Default)]
pub struct Sources {
    values: BTreeMap<&'static str, Set>,
    pub(super) listeners: Option<Vec<RawListener>>,
    /// Stronger than what the file says of single listeners.
    allow_anonymous: Option<bool>,
    /// Stronger than `storage.directory`.
    data_directory: Option<PathBuf>,
    names: Vec<String>,
    warnings: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

/// What the command line may say about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`, each time it was given.
    pub listen: Vec<String>,
    /// `--shards`.
    pub shards: Option<u64>,
    /// `--allow-anonymous`.
    pub allow_anonymous: bool,
    /// `--data-dir`.
    pub data_directory: Option<PathBuf>,
    /// `--durability`.
    pub durability: Option<String>,
}

impl Sources {
    /// Nothing said yet: the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text of a TOML file; `name` is what messages call it.
    pub fn file(&mut self, name: &str, text: &str) {
        self.names.push(format!("file {name}"));
        file::read(self, name, text);
    }

    /// Takes what the environment says: `MARTLET_*` of every setting, `MARTLET_LISTEN` (addresses with commas
    /// between), `MARTLET_ALLOW_ANONYMOUS`, `MARTLET_DATA_DIR`, and of the seed broker `SOCKET_ADDR` and `RUST_LOG`.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if !name.starts_with(ENVIRONMENT_PREFIX) && !SEED_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            match value.into_string() {
                // An empty variable is how shells and service managers say 'not set'.
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => {
                    ours.insert(name, value);
                }
                Err(_) => self.variable_problem(&name, "", "its value is no UTF-8".to_owned()),
            }
        }
        // Weakest first: our own variable for the filter overrides the general one.
        if let Some(filter) = ours.remove("RUST_LOG") {
            let field = FIELDS.iter().find(|field| field.path == "log.filter");
            self.variable(field, "RUST_LOG", &filter);
        }
        self.listening_variables(&mut ours);
        if let Some(directory) = ours.remove(DATA_DIR) {
            self.names.push(format!("environment {DATA_DIR}"));
            self.data_directory = Some(directory.into());
            if ours.contains_key("MARTLET_STORAGE_DIRECTORY") {
                let what = "MARTLET_STORAGE_DIRECTORY is set, too; unset one of them".to_owned();
                self.variable_problem(DATA_DIR, "storage.directory", what);
            }
        }
        ours.remove("MARTLET_CONFIG");
        for (name, value) in &ours {
            let field = FIELDS.iter().find(|field| field.variable() == *name);
            self.variable(field, name, value);
        }
    }

    /// Takes what the command line says.
    pub fn flags(&mut self, flags: &Flags) {
        if !flags.listen.is_empty() {
            self.names.push("flag --listen".to_owned());
            let address = |text: &String| RawListener {
                address: Setting {
                    value: text.clone(),
                    origin: Origin::Flag("--listen"),
                },
                allow_anonymous: false,
            };
            self.listeners = Some(flags.listen.iter().map(address).collect());
        }
        if let Some(shards) = flags.shards {
            self.names.push("flag --shards".to_owned());
            if let Some(field) = FIELDS.iter().find(|field| field.path == "shards") {
                let origin = Origin::Flag("--shards");
                match field.kind.number(shards) {
                    Some(value) => self.set(field, value, origin),
                    None => self.problems.push(Problem {
                        origin,
                        field: field.path.to_owned(),
                        what: format!("expected {}; found {shards}", field.kind.expectation()),
                    }),
                }
            }
        }
        if flags.allow_anonymous {
            self.names.push("flag --allow-anonymous".to_owned());
            self.allow_anonymous = Some(true);
        }
        if let Some(directory) = &flags.data_directory {
            self.names.push("flag --data-dir".to_owned());
            self.data_directory = Some(directory.clone());
        }
        if let Some(text) = &flags.durability {
            self.names.push("flag --durability".to_owned());
            let field = FIELDS
                .iter()
                .find(|field| field.path == "storage.durability");
            if let Some(field) = field {
                let origin = Origin::Flag("--durability");
                match field.kind.text(text) {
                    Some(value) => self.set(field, value, origin),
                    None => self.problems.push(Problem {
                        origin,
                        field: field.path.to_owned(),
                        what: format!("expected {}; found {text}", field.kind.expectation()),
                    }),
                }
            }
        }
    }

    /// Things that are allowed but that the operator should know, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The configuration, or everything that is wrong with it.
    pub fn check(mut self) -> Result<Config, Problems> {
        let mut config = Config::default();
        for field in FIELDS {
            if let Some(set) = self.values.get(field.path) {
                (field.apply)(&mut config, &set.value);
                if field.path == "log.filter" {
                    config.log.filter_origin = set.origin.clone();
                }
            }
        }
        if let Some(directory) = self.data_directory.take() {
            config.storage.directory = Some(directory);
        }
        if let Some(listeners) = self.listeners.take() {
            config.listeners = self.check_listeners(listeners);
        }
        self.check_contradictions(&config);
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        config.sources = self.names;
        Ok(config)
    }

    /// Notes a checked value; a later one for the same field is stronger.
    pub(super) fn set(&mut self, field: &Field, value: Value, origin: Origin) {
        self.values.insert(field.path, Set { value, origin });
    }

    fn listening_variables(&mut self, ours: &mut BTreeMap<String, String>) {
        if let Some(text) = ours.remove("MARTLET_ALLOW_ANONYMOUS") {
            let name = "MARTLET_ALLOW_ANONYMOUS";
            if let Some(Value::Switch(switch)) = Kind::Switch.variable(&text) {
                self.names.push(format!("environment {name}"));
                self.allow_anonymous = Some(switch);
            } else {
                let what = format!("expected true or false; found \"{text}\"");
                self.variable_problem(name, "allow_anonymous", what);
            }
        }
        let listen = ours.remove("MARTLET_LISTEN");
        let socket_addr = ours.remove(SOCKET_ADDR);
        let (name, text) = match (listen, socket_addr) {
            (Some(_), Some(_)) => {
                let what = "MARTLET_LISTEN is set, too; unset one of them".to_owned();
                return self.variable_problem(SOCKET_ADDR, "listeners.address", what);
            }
            (Some(text), None) => ("MARTLET_LISTEN", text),
            (None, Some(text)) => (SOCKET_ADDR, text),
            (None, None) => return,
        };
        self.names.push(format!("environment {name}"));
        let address = |text: &str| RawListener {
            address: Setting {
                value: text.trim().to_owned(),
                origin: Origin::Environment(name.to_owned()),
            },
            allow_anonymous: false,
        };
        self.listeners = Some(text.split(',').map(address).collect());
    }

    fn variable(&mut self, field: Option<&Field>, name: &str, text: &str) {
        let Some(field) = field else {
            // Not refused: container platforms put variables like MARTLET_SERVICE_HOST there on their own.
            let known: Vec<String> = FIELDS.iter().map(Field::variable).collect();
            let near = nearest(name, known.iter().map(String::as_str));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.warnings
                .push(format!("environment {name}: unknown, ignored{hint}"));
            return;
        };
        self.names.push(format!("environment {name}"));
        if let Some(value) = field.kind.variable(text) {
            self.set(field, value, Origin::Environment(name.to_owned()));
        } else {
            let expected = field.kind.expectation();
            let what = format!("expected {expected}; found \"{text}\"");
            self.variable_problem(name, field.path, what);
        }
    }

    fn check_listeners(&mut self, raw: Vec<RawListener>) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for listener in raw {
            let Setting { value, origin } = listener.address;
            let Some(address) = parse_address(&value) else {
                let what = format!("expected {}; found \"{value}\"", file::ADDRESS_FORM);
                self.listener_problem(origin, what);
                continue;
            };
            let twice = listeners
                .iter()
                .any(|earlier| earlier.address == address && address.port() != 0);
            if twice {
                self.listener_problem(origin, format!("{address} is listed twice"));
                continue;
            }
            let allowed = self.allow_anonymous.unwrap_or(listener.allow_anonymous);
            if let Some(access) = access(address, allowed, &origin) {
                listeners.push(Listener { address, access });
            } else {
                let remedy = remedy(&origin);
                self.listener_problem(origin, refusal(address, remedy));
            }
        }
        listeners
    }

    /// Bounds that make sense each for itself, but not together.
    fn check_contradictions(&mut self, config: &Config) {
        let limits = &config.limits;
        let policy = &config.policy;
        self.must_not_exceed(
            (
                "session.expiry_default",
                policy.session_expiry_default_s.into(),
            ),
            ("session.expiry_cap", policy.session_expiry_cap_s.into()),
        );
        self.must_not_exceed(
            ("limits.outbox_bytes_max", limits.outbox_bytes_max as u64),
            (
                "limits.outbox_bytes_hard_max",
                limits.outbox_bytes_hard_max as u64,
            ),
        );
        self.must_not_exceed(
            (
                "limits.outbox_bytes_hard_max",
                limits.outbox_bytes_hard_max as u64,
            ),
            (
                "limits.memory_budget_bytes",
                limits.memory_budget_bytes as u64,
            ),
        );
        self.must_not_exceed(
            ("limits.packet_bytes_max", limits.packet_bytes_max.into()),
            (
                "limits.outbox_bytes_hard_max",
                limits.outbox_bytes_hard_max as u64,
            ),
        );
    }

    /// Notes a contradiction where somebody made it; the defaults agree with each other.
    fn must_not_exceed(
        &mut self,
        (low, low_value): (&'static str, u64),
        (high, high_value): (&'static str, u64),
    ) {
        if low_value <= high_value {
            return;
        }
        let set = |path| self.values.get(path).map(|set: &Set| set.origin.clone());
        let (field, origin) = match (set(low), set(high)) {
            (Some(origin), _) => (low, origin),
            (None, Some(origin)) => (high, origin),
            (None, None) => (low, Origin::Default),
        };
        self.problems.push(Problem {
            origin,
            field: field.to_owned(),
            what: format!(
                "{low} ({low_value}) must not exceed {high} ({high_value}); change one of them"
            ),
        });
    }

    fn listener_problem(&mut self, origin: Origin, what: String) {
        self.problems.push(Problem {
            origin,
            field: "listeners.address".to_owned(),
            what,
        });
    }

    fn variable_problem(&mut self, name: &str, field: &str, what: String) {
        self.problems.push(Problem {
            origin: Origin::Environment(name.to_owned()),
            field: field.to_owned(),
            what,
        });
    }
}

/// A value that somebody gave, and where.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// A listener as it was written.
#[derive(Debug)]
pub(super) struct RawListener {
    pub(super) address: Setting,
    pub(super) allow_anonymous: bool,
}

#[derive(Debug)]
struct Set {
    value: Value,
    origin: Origin,
}

/// An address as operators write it. `localhost` is not looked up: it means 127.0.0.1.
pub(crate) fn parse_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let port = text.strip_prefix("localhost:")?.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    })
}

/// Why a listener may be opened to clients that do not say who they are; `None`: it may not.
fn access(address: SocketAddr, allowed: bool, origin: &Origin) -> Option<Access> {
    if address.ip().to_canonical().is_loopback() {
        return Some(Access::LoopbackOnly);
    }
    if allowed {
        return Some(Access::AllowedExplicitly);
    }
    (*origin == Origin::Environment(SOCKET_ADDR.to_owned())).then_some(Access::AllowedBySocketAddr)
}

/// The text of the refusal to open a listener to the network.
fn refusal(address: SocketAddr, remedy: &str) -> String {
    format!(
        "{address} can be reached from other machines, and no authentication is configured; {remedy}, \
         or listen on 127.0.0.1:{}",
        address.port()
    )
}

fn remedy(origin: &Origin) -> &'static str {
    match origin {
        Origin::File { .. } => {
            "to let everybody in, write 'allow_anonymous = true' in this listener"
        }
        Origin::Environment(_) => "to let everybody in, set MARTLET_ALLOW_ANONYMOUS=true",
        Origin::Flag(_) | Origin::Default => "to let everybody in, add --allow-anonymous",
    }
}

/// The seed broker's variable for its one listener.
const SOCKET_ADDR: &str = "SOCKET_ADDR";
/// The short name of `storage.directory`.
const DATA_DIR: &str = "MARTLET_DATA_DIR";
const SEED_VARIABLES: &[&str] = &[SOCKET_ADDR, "RUST_LOG"];

#[cfg(test)]
mod tests;
