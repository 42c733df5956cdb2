//! The one table of settings: path in the file, kind and range, and where the value goes.
//!
//! A new setting is one row; file key, environment variable, range check and suggestions follow from it.

use super::value::{Kind, Value};
use super::{Config, Durability, LogFormat};

/// One scalar setting.
#[derive(Debug)]
pub(super) struct Field {
    /// Dotted path in the file; `section.key` or a key of the top level.
    pub(super) path: &'static str,
    /// Its values.
    pub(super) kind: Kind,
    /// Puts a checked value into the configuration.
    pub(super) apply: fn(&mut Config, &Value),
}

impl Field {
    /// The section it belongs to, empty for the top level, and its key there.
    pub(super) fn section_and_key(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or(("", self.path))
    }

    /// The environment variable of the setting: `MARTLET_LIMITS_PACKET_BYTES_MAX`.
    pub(super) fn variable(&self) -> String {
        let mut name = ENVIRONMENT_PREFIX.to_owned();
        name.extend(self.path.chars().map(|c| match c {
            '.' => '_',
            c => c.to_ascii_uppercase(),
        }));
        name
    }
}

/// What the names of our environment variables begin with.
pub(super) const ENVIRONMENT_PREFIX: &str = "MARTLET_";

/// A row whose number goes into an integer field; the range of its kind fits the field's type.
macro_rules! number {
    ($path:literal, $kind:expr, $($target:ident).+) => {
        Field {
            path: $path,
            kind: $kind,
            apply: |config, value| {
                if let Value::Number(number) = value
                    && let Ok(number) = (*number).try_into()
                {
                    config.$($target).+ = number;
                }
            },
        }
    };
}

/// A row whose duration goes into a field in whole seconds; `never` is the largest number.
macro_rules! seconds {
    ($path:literal, $($target:ident).+) => {
        Field {
            path: $path,
            kind: Kind::Duration { min_ms: 0, max_ms: SECONDS_MAX * 1_000, never: true },
            apply: |config, value| match value {
                Value::Number(millis) => {
                    config.$($target).+ = u32::try_from(millis / 1_000).unwrap_or(u32::MAX);
                }
                Value::Never => config.$($target).+ = u32::MAX,
                Value::Switch(_) | Value::Text(_) => {}
            },
        }
    };
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

/// `u32::MAX` seconds mean 'never', as in the protocol.
const SECONDS_MAX: u64 = u32::MAX as u64 - 1;
/// Counts beyond this are a typing mistake.
const COUNT_MAX: u64 = 1 << 32;
/// So are sizes beyond this.
const BYTES_MAX: u64 = 1 << 40;
/// What a Remaining Length can say, fixed header included.
const PACKET_BYTES_MAX: u64 = 268_435_460;

/// Every scalar setting. `[[listeners]]` is a list and stands in `file`.
pub(super) const FIELDS: &[Field] = &[
    Field {
        path: "shards",
        kind: count(1, martlet_engine::SHARDS_MAX as u64),
        apply: |config, value| {
            if let Value::Number(number) = value {
                config.shards = usize::try_from(*number).ok();
            }
        },
    },
    Field {
        path: "limits.connections_max",
        kind: count(1, COUNT_MAX),
        apply: |config, value| {
            if let Value::Number(number) = value {
                config.connections_max = usize::try_from(*number).ok();
            }
        },
    },
    number!(
        "limits.packet_bytes_max",
        bytes(16, PACKET_BYTES_MAX),
        limits.packet_bytes_max
    ),
    number!(
        "limits.connect_timeout",
        Kind::Duration {
            min_ms: 100,
            max_ms: 3_600_000,
            never: false
        },
        limits.connect_timeout_ms
    ),
    number!(
        "limits.authentication_timeout",
        Kind::Duration {
            min_ms: 100,
            max_ms: 3_600_000,
            never: false
        },
        limits.authentication_timeout_ms
    ),
    number!(
        "limits.in_flight_to_client_max",
        count(1, 65_535),
        limits.in_flight_to_client_max
    ),
    number!(
        "limits.receive_maximum",
        count(1, 65_535),
        limits.receive_maximum
    ),
    number!(
        "limits.session_queue_messages_max",
        count(0, COUNT_MAX),
        limits.session_queue_messages_max
    ),
    number!(
        "limits.session_queue_bytes_max",
        bytes(0, BYTES_MAX),
        limits.session_queue_bytes_max
    ),
    number!(
        "limits.outbox_bytes_max",
        bytes(1_024, BYTES_MAX),
        limits.outbox_bytes_max
    ),
    number!(
        "limits.outbox_bytes_hard_max",
        bytes(1_024, BYTES_MAX),
        limits.outbox_bytes_hard_max
    ),
    number!(
        "limits.topic_aliases_from_client_max",
        count(0, 65_535),
        limits.topic_aliases_from_client_max
    ),
    number!(
        "limits.topic_aliases_to_client_max",
        count(0, 65_535),
        limits.topic_aliases_to_client_max
    ),
    number!(
        "limits.topic_bytes_max",
        bytes(1, 65_535),
        limits.topic_bytes_max
    ),
    number!(
        "limits.topic_levels_max",
        count(1, 65_535),
        limits.topic_levels_max
    ),
    number!(
        "limits.client_id_bytes_max",
        bytes(23, 65_535),
        limits.client_id_bytes_max
    ),
    number!(
        "limits.subscriptions_per_session_max",
        count(1, COUNT_MAX),
        limits.subscriptions_per_session_max
    ),
    number!(
        "limits.sessions_max",
        count(1, COUNT_MAX),
        limits.sessions_max
    ),
    number!(
        "limits.retained_messages_max",
        count(0, COUNT_MAX),
        limits.retained_messages_max
    ),
    number!(
        "limits.retained_bytes_max",
        bytes(0, BYTES_MAX),
        limits.retained_bytes_max
    ),
    number!(
        "limits.group_queue_messages_max",
        count(0, COUNT_MAX),
        limits.group_queue_messages_max
    ),
    number!(
        "limits.group_queue_bytes_max",
        bytes(0, BYTES_MAX),
        limits.group_queue_bytes_max
    ),
    number!(
        "limits.memory_budget_bytes",
        bytes(1 << 20, BYTES_MAX),
        limits.memory_budget_bytes
    ),
    number!(
        "limits.route_cache_entries_max",
        count(0, COUNT_MAX),
        limits.route_cache_entries_max
    ),
    number!(
        "limits.retained_chunk_messages",
        count(1, 65_536),
        limits.retained_chunk_messages
    ),
    number!(
        "limits.held_answers_max",
        count(1, COUNT_MAX),
        limits.held_answers_max
    ),
    seconds!("session.expiry_default", policy.session_expiry_default_s),
    seconds!("session.expiry_cap", policy.session_expiry_cap_s),
    Field {
        path: "session.keep_alive_cap",
        kind: Kind::Duration {
            min_ms: 1_000,
            max_ms: 65_535_000,
            never: true,
        },
        apply: |config, value| {
            config.policy.keep_alive_cap_s = match value {
                Value::Number(millis) => u16::try_from(millis / 1_000).ok(),
                Value::Never | Value::Switch(_) | Value::Text(_) => None,
            };
        },
    },
    Field {
        path: "session.wills_on_shutdown",
        kind: Kind::Switch,
        apply: |config, value| config.policy.wills_on_shutdown = *value == Value::Switch(true),
    },
    Field {
        path: "storage.durability",
        kind: Kind::Choice(&["fsync", "os", "memory"]),
        apply: |config, value| {
            if let Value::Text(text) = value {
                config.storage.durability = Some(match text.as_str() {
                    "os" => Durability::Os,
                    "memory" => Durability::Memory,
                    _ => Durability::Fsync,
                });
            }
        },
    },
    Field {
        path: "storage.directory",
        kind: Kind::Text,
        apply: |config, value| {
            if let Value::Text(text) = value {
                config.storage.directory = (!text.is_empty()).then(|| text.into());
            }
        },
    },
    number!(
        "storage.segment_bytes",
        bytes(64 << 10, 1 << 30),
        storage.segment_bytes
    ),
    Field {
        path: "storage.size_bytes_max",
        kind: bytes(1 << 20, BYTES_MAX),
        apply: |config, value| {
            if let Value::Number(number) = value {
                config.storage.size_bytes_max = Some(*number);
            }
        },
    },
    number!(
        "storage.waiting_bytes_max",
        bytes(1 << 16, BYTES_MAX),
        storage.waiting_bytes_max
    ),
    number!(
        "storage.body_cache_bytes_max",
        bytes(0, BYTES_MAX),
        storage.body_cache_bytes_max
    ),
    Field {
        path: "log.filter",
        kind: Kind::Text,
        apply: |config, value| {
            if let Value::Text(text) = value {
                text.clone_into(&mut config.log.filter);
            }
        },
    },
    Field {
        path: "log.format",
        kind: Kind::Choice(&["auto", "human", "json"]),
        apply: |config, value| {
            if let Value::Text(text) = value {
                config.log.format = match text.as_str() {
                    "human" => LogFormat::Human,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                };
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FIELDS, Kind, Value};
    use crate::config::Config;

    #[test]
    fn every_path_stands_once_and_has_its_variable() {
        let paths: BTreeSet<_> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(paths.len(), FIELDS.len());
        let field = FIELDS
            .iter()
            .find(|field| field.path == "limits.packet_bytes_max");
        assert_eq!(field.unwrap().variable(), "MARTLET_LIMITS_PACKET_BYTES_MAX");
    }

    /// A row that forgets its target, or whose range does not fit the target's type, changes nothing.
    #[test]
    fn the_extremes_of_every_row_reach_the_configuration() {
        for field in FIELDS {
            let (low, high) = match field.kind {
                Kind::Count { min, max } | Kind::Bytes { min, max } => {
                    (Value::Number(min), Value::Number(max))
                }
                Kind::Duration { min_ms, max_ms, .. } => {
                    (Value::Number(min_ms), Value::Number(max_ms))
                }
                Kind::Switch => (Value::Switch(false), Value::Switch(true)),
                Kind::Text => (Value::Text("a".into()), Value::Text("b".into())),
                Kind::Choice(words) => (Value::Text(words[0].into()), Value::Text(words[1].into())),
            };
            let (mut with_low, mut with_high) = (Config::default(), Config::default());
            (field.apply)(&mut with_low, &low);
            (field.apply)(&mut with_high, &high);
            assert_ne!(with_low, with_high, "{}", field.path);
        }
    }
}
