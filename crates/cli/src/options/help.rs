//! `--help` of a program, made from the table.

use std::fmt::Write as _;

use super::parse::VARIABLES;
use super::table::{GROUPS, Spec};
use crate::exit::CODES;
use crate::programs::{Dialect, Program};

/// The text of `--help`.
pub(crate) fn help(program: Program, dialect: Dialect) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = match dialect {
        Dialect::Martlet => write!(
            text,
            "{}.\n\nUsage: martlet {} {}\n",
            program.about(),
            program.name(),
            usage(program)
        ),
        Dialect::Mosquitto => write!(
            text,
            "{}, as mosquitto_{} 2.0 does it (martlet {}).\n\nUsage: mosquitto_{1} [OPTIONS]\n",
            program.about(),
            program.name(),
            env!("CARGO_PKG_VERSION"),
        ),
    };
    for group in GROUPS {
        let mut options = group
            .options
            .iter()
            .filter(|spec| taken(spec, program, dialect))
            .peekable();
        if options.peek().is_none() {
            continue;
        }
        let _ = write!(text, "\n{}:\n", group.title);
        for spec in options {
            line(spec, dialect, &mut text);
        }
    }
    if dialect == Dialect::Martlet {
        let _ = write!(text, "\nExamples:\n{}\n", examples(program));
        text.push_str("\nEnvironment (weaker than options; MQTT_PROFILE names a profile):\n");
        for (variable, option) in VARIABLES {
            let _ = writeln!(text, "  {variable:<20} as {option}");
        }
        text.push_str("\nExit codes:\n");
        for (code, meaning) in CODES {
            let _ = writeln!(text, "  {code:<9} {meaning}");
        }
    }
    text
}

fn taken(spec: &Spec, program: Program, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Martlet => spec.own.has(program),
        Dialect::Mosquitto => spec.mosquitto.has(program),
    }
}

fn line(spec: &Spec, dialect: Dialect, text: &mut String) {
    let mut head = match dialect {
        Dialect::Martlet => spec.all_names().collect::<Vec<_>>().join(", "),
        Dialect::Mosquitto => spec.names.join(", "),
    };
    if head.starts_with("--") {
        head.insert_str(0, "    ");
    }
    if spec.takes_value() {
        head.push(' ');
        head.push_str(spec.value);
    }
    let _ = if head.len() <= COLUMN {
        writeln!(text, "  {head:<COLUMN$}  {}", spec.help)
    } else {
        writeln!(text, "  {head}\n  {:<COLUMN$}  {}", "", spec.help)
    };
}

fn usage(program: Program) -> &'static str {
    match program {
        Program::Pub => {
            "[URL] -t TOPIC {-m TEXT | -f FILE | -s | -l | -n | --size BYTES} [OPTIONS]"
        }
        Program::Sub => "[URL] -t FILTER [-t FILTER ...] [OPTIONS]",
        Program::Rr => "[URL] -t TOPIC {-m TEXT | -f FILE | -s | -n} [-e TOPIC] [OPTIONS]",
        Program::Get => "[URL] TOPIC [OPTIONS]",
        Program::Conn => "[URL | HOST[:PORT]] [--probe] [OPTIONS]",
    }
}

pub(super) fn examples(program: Program) -> &'static str {
    match program {
        Program::Pub => {
            "  martlet pub -t lamp/set -m on -q 1\n  \
             martlet pub -t meter/1 -l -r < values.txt\n  \
             martlet sub -h a -t '#' --output json | martlet pub -h b -l --input jsonl"
        }
        Program::Sub => {
            "  martlet sub -t 'home/#' -v\n  \
             martlet sub -t 'home/#' --output json | jq .payload\n  \
             martlet sub -t 'home/#' --retained-only -F '%t = %p'"
        }
        Program::Rr => "  martlet rr -t svc/add -m '1 2' -W 5",
        Program::Get => {
            "  martlet get home/temperature\n  \
             martlet get 'home/+/temperature' -v"
        }
        Program::Conn => {
            "  martlet conn broker.local\n  \
             martlet conn mqtt://me@broker.local:1883 --password-file secret --probe"
        }
    }
}

/// Where the descriptions start.
const COLUMN: usize = 34;

#[cfg(test)]
mod tests {
    use super::help;
    use crate::programs::{Dialect, Program};

    #[test]
    fn each_program_lists_its_own_options() {
        let text = help(Program::Pub, Dialect::Martlet);
        assert!(text.contains("-h, --host HOST"), "{text}");
        assert!(text.contains("--topic-separator"), "{text}");
        assert!(!text.contains("--retained-only"), "{text}");
        let text = help(Program::Sub, Dialect::Mosquitto);
        let options: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert!(!options.contains(&"--password-file"), "{text}");
        assert!(!text.contains("--count"), "{text}");
    }
}
