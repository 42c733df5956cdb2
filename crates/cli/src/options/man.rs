//! The man page, made from the same list of commands and options as everything else.

use std::fmt::Write as _;

use super::catalogue::{Command, commands};
use super::help::examples;
use super::parse::VARIABLES;
use crate::exit::{CODES, STORE_CODES};
use crate::programs::Program;
use crate::properties::hyphenated;

/// The page, in the language of man.
pub(crate) fn man() -> String {
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        page,
        ".TH MARTLET 1 \"\" \"martlet {}\" \"User Commands\"\n.SH NAME\nmartlet \\- MQTT broker, clients and tools\n\
         .SH SYNOPSIS\n.B martlet\n.I COMMAND\n[options]\n.SH DESCRIPTION\n\
         One program for MQTT 3.1, 3.1.1 and 5.0. Without a command it runs the broker. Started under the name \
         mosquitto_pub, mosquitto_sub, mosquitto_rr or mosquitto_passwd (a link is enough) it behaves as that program \
         of mosquitto 2.0 does, exit codes included.\n",
        env!("CARGO_PKG_VERSION")
    );
    page.push_str(
        "Standard output carries messages only; everything else goes to standard error.\n",
    );
    page.push_str(".SH COMMANDS\n");
    let commands = commands();
    for command in &commands {
        let _ = writeln!(
            page,
            ".TP\n.B {}\n{}",
            roff(&command.name),
            roff(&command.about)
        );
        for (typed, about) in &command.parts {
            let _ = writeln!(page, ".TP\n.B {}\n{}", roff(typed), roff(about));
        }
    }
    for command in &commands {
        options(command, &mut page);
    }
    page.push_str(".SH OUTPUT FORMAT\n");
    page.push_str(&roff(FORMAT));
    page.push_str("\n.SH TEMPLATES\n");
    page.push_str(&roff(TEMPLATES));
    page.push_str("\n.SH FILES OF MESSAGES\n");
    page.push_str(&roff(FOLDER));
    page.push_str("\n.SH DECODING\n");
    page.push_str(&roff(DECODING));
    page.push_str("\n.SH PROPERTIES\nNames for \\-D:\n");
    let names: Vec<String> = martlet_codec::PropertyId::ALL
        .iter()
        .map(|id| hyphenated(*id))
        .collect();
    let _ = writeln!(page, "{}.", roff(&names.join(", ")));
    page.push_str(".SH ENVIRONMENT\n");
    for (variable, option) in VARIABLES {
        let _ = writeln!(page, ".TP\n.B {variable}\nas {}", roff(option));
    }
    page.push_str(".TP\n.B MQTT_PROFILE\nas \\-\\-profile\n.SH FILES\n");
    page.push_str(&roff(FILES));
    page.push_str("\n.SH EXIT STATUS\n");
    for (code, meaning) in CODES {
        let _ = writeln!(page, ".TP\n.B {}\n{}", roff(code), roff(meaning));
    }
    page.push_str(".PP\nOf store:\n");
    for (code, meaning) in STORE_CODES {
        let _ = writeln!(page, ".TP\n.B {}\n{}", roff(code), roff(meaning));
    }
    page.push_str(".SH EXAMPLES\n.nf\n");
    for program in Program::ALL {
        let _ = writeln!(page, "{}", roff(examples(program)));
    }
    page.push_str(".fi\n");
    page
}

fn options(command: &Command, page: &mut String) {
    if command.options.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        ".SH OPTIONS OF {}",
        roff(&command.name.to_uppercase())
    );
    let mut heading = "";
    for option in &command.options {
        if option.heading != heading {
            heading = option.heading;
            let _ = writeln!(page, ".SS {}", roff(heading));
        }
        let names: Vec<String> = option
            .names
            .iter()
            .map(|name| format!("\\fB{}\\fR", roff(name)))
            .collect();
        let _ = writeln!(
            page,
            ".TP\n{} \\fI{}\\fR",
            names.join(", "),
            roff(&option.value)
        );
        let _ = writeln!(page, "{}", roff(&option.help));
    }
}

/// Text that roff prints as it is.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let guarded: Vec<String> = escaped
        .lines()
        .map(|line| {
            if line.starts_with(['.', '\'']) {
                format!("\\&{line}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    guarded.join("\n")
}

const FORMAT: &str = "\
-F takes text with fields. %t topic, %p payload, %x and %X payload in hexadecimal digits, %l its length, %q QoS, \
%r retain flag, %m packet identifier, %j the message as JSON, %J the same with a payload that is JSON, %I local time, \
%U seconds since 1970. Of MQTT 5: %A topic alias, %C content type, %D correlation data, %E message expiry interval, \
%F payload format indicator, %P user properties, %R response topic, %S subscription identifier. \
%d and %f print a payload of eight or four bytes (little endian) as a floating point number. \
%% is a percent sign. Behind the percent sign may stand a minus (to the left), a zero (fill with zeros), a width and a \
dot with a precision; %.2:x puts a colon behind every second byte. @ and a letter is what strftime makes of it, \
@N nanoseconds, @@ an at sign. Escapes: \\\\ \\0 \\a \\e \\n \\r \\t \\v.";

const TEMPLATES: &str = "\
--template takes text with fields between double braces. {{n}} the number of the message from 1, {{topic}}, {{line}} what \
the line of standard input says (with -l), {{time}} the time in UTC as RFC 3339 has it, {{unix}} and {{unix_ms}} seconds and \
milliseconds since 1970, {{random:LOW:HIGH}} a whole number in that range, {{brace}} two braces that are text.";

const FOLDER: &str = "\
--to-dir FOLDER keeps the newest message of each topic in a file of its own: the payload as it is, or what -F, -v, --output or \
--decode make of it. The name is the topic, percent-encoded as in URLs (home/kitchen is home%2Fkitchen); where it would be \
longer than 240 bytes it is cut, and has ~ and the topic's SHA-256 behind it. A file is replaced as a whole. --append FILE puts \
whole messages at the end of a file.";

const DECODING: &str = "\
--decode FORM prints payloads as JSON: json, cbor (byte strings in base64, tags passed over), msgpack (byte strings in base64, \
extensions as an object), protobuf (without a schema: fields by their number, numbers of 32 and 64 bits as hexadecimal digits). \
What cannot be read is told on standard error and left out; at the end the exit status is 65.";

const FILES: &str = "\
$XDG_CONFIG_HOME/martlet/profiles/NAME (or ~/.config/...): the options of --profile NAME, one a line, the value behind \
a space; lines with # are comments. -o FILE reads the same. Started as mosquitto_sub, the options in \
~/.config/mosquitto_sub come first, and so for the others.";

#[cfg(test)]
mod tests {
    use super::man;

    #[test]
    fn no_line_of_the_page_starts_with_a_request_that_roff_does_not_know() {
        let known = [
            ".TH ", ".SH ", ".SS ", ".TP", ".B ", ".I ", ".nf", ".fi", ".PP",
        ];
        let page = man();
        for line in page
            .lines()
            .filter(|line| line.starts_with('.') || line.starts_with('\''))
        {
            assert!(
                known.iter().any(|request| line.starts_with(request)),
                "{line}"
            );
        }
        assert!(page.contains("retained\\-only"));
    }
}
