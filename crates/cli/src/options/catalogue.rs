//! All subcommands with their options in one form: ours from the table, the others from clap.

use clap::CommandFactory as _;

use super::table::{GROUPS, Offer};
use crate::arguments::Arguments;
use crate::passwd;
use crate::programs::Program;

/// A subcommand.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) options: Vec<Documented>,
    /// Words that may stand without an option.
    pub(super) words: Offer,
    /// Subcommands of its own: what is typed, and what it does. Their options are all in `options`.
    pub(super) parts: Vec<(String, String)>,
}

/// An option of a subcommand.
#[derive(Debug)]
pub(super) struct Documented {
    pub(super) names: Vec<String>,
    /// Empty for a switch.
    pub(super) value: String,
    pub(super) help: String,
    pub(super) offer: Offer,
    pub(super) heading: &'static str,
}

impl Documented {
    pub(super) fn short(&self) -> Option<&str> {
        self.names
            .iter()
            .find_map(|name| name.strip_prefix('-').filter(|rest| rest.len() == 1))
    }

    pub(super) fn long(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| name.strip_prefix("--"))
    }
}

/// All subcommands.
pub(super) fn commands() -> Vec<Command> {
    let from_clap = Arguments::command();
    let mut commands: Vec<Command> = from_clap
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .map(|command| Command {
            name: command.get_name().to_owned(),
            about: command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default(),
            options: options_of(command),
            words: words_of(command),
            parts: parts_of(command),
        })
        .collect();
    for command in &mut commands {
        if let Some(program) = Program::ALL
            .into_iter()
            .find(|program| program.name() == command.name)
        {
            command.options = options_of_table(program);
        }
        if command.name == "passwd" {
            command.options = passwd::OPTIONS
                .iter()
                .map(|(name, value, help)| documented(name, value, help))
                .collect();
            command.words = Offer::Files;
        }
    }
    commands
}

fn documented(name: &str, value: &str, help: &str) -> Documented {
    Documented {
        names: vec![name.to_owned()],
        value: value.to_owned(),
        help: help.to_owned(),
        offer: if value == "FILE" {
            Offer::Files
        } else {
            Offer::Nothing
        },
        heading: "",
    }
}

fn options_of_table(program: Program) -> Vec<Documented> {
    let mut options = Vec::new();
    for group in GROUPS {
        for spec in group.options.iter().filter(|spec| spec.own.has(program)) {
            options.push(Documented {
                names: spec.all_names().map(str::to_owned).collect(),
                value: spec.value.to_owned(),
                help: spec.help.to_owned(),
                offer: spec.offer,
                heading: group.title,
            });
        }
    }
    options
}

/// Those of its own subcommands, too: each once.
fn options_of(command: &clap::Command) -> Vec<Documented> {
    let mut options: Vec<Documented> = Vec::new();
    let parts = command.get_subcommands();
    for argument in std::iter::once(command)
        .chain(parts)
        .flat_map(clap::Command::get_arguments)
        .filter(|argument| !argument.is_positional())
    {
        let short = argument.get_short().map(|letter| format!("-{letter}"));
        let long = argument.get_long().map(|name| format!("--{name}"));
        let takes_value = argument.get_action().takes_values();
        let value = argument.get_value_names().and_then(<[_]>::first);
        let value = value
            .filter(|_| takes_value)
            .map(ToString::to_string)
            .unwrap_or_default();
        let names: Vec<_> = short.into_iter().chain(long).collect();
        if options.iter().any(|option| option.names == names) {
            continue;
        }
        options.push(Documented {
            names,
            offer: if matches!(value.as_str(), "FILE" | "DIR") {
                Offer::Files
            } else {
                Offer::Nothing
            },
            value,
            help: argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
            heading: "",
        });
    }
    options
}

fn words_of(command: &clap::Command) -> Offer {
    match command.get_name() {
        "check-config" => Offer::Files,
        "store" => Offer::WordsThenFiles(&["verify", "dump", "repair", "backup"]),
        "completions" => Offer::Words(&["bash", "zsh", "fish", "powershell"]),
        _ => Offer::Nothing,
    }
}

/// `store backup [OPTIONS] <DIR>`, and what it does.
fn parts_of(command: &clap::Command) -> Vec<(String, String)> {
    let parts = command.get_subcommands();
    parts
        .map(|part| {
            let words = part.get_positionals().map(|word| {
                let name = word.get_value_names().and_then(<[_]>::first);
                let name = name.map(ToString::to_string).unwrap_or_default();
                if word.is_required_set() {
                    format!(" {name}")
                } else {
                    format!(" [{name}]")
                }
            });
            let words: String = words.collect();
            let about = part.get_about().map(ToString::to_string);
            (
                format!("{} {}{words}", command.get_name(), part.get_name()),
                about.unwrap_or_default(),
            )
        })
        .collect()
}
