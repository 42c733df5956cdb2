//! Options about what is printed, and where.

use std::path::Path;

use super::super::numbers::atof;
use super::Word;
use crate::decode::Decoder;
use crate::format::Format;
use crate::options::problem::Problem;
use crate::options::table::Opt;
use crate::programs::Dialect;
use crate::settings::{Kind, Output, Place, Settings};

/// Options about what is printed, and where.
pub(super) fn output(word: &Word<'_>, settings: &mut Settings) -> Result<bool, Problem> {
    let output = &mut settings.output;
    match word.spec.opt {
        Opt::Format => {
            let format = Format::parse(word.value.as_encoded_bytes(), word.dialect);
            output.format = Some(format.map_err(Problem::Format)?);
        }
        Opt::Output => {
            output.kind = match word.value.to_str() {
                Some("text") => Kind::Text,
                Some("json") => Kind::Json,
                Some("raw") => Kind::Raw,
                _ => return Err(word.wrong("a kind of output; there are text, json and raw")),
            };
        }
        Opt::Verbose => output.verbose = true,
        Opt::NoEol => output.end_of_line = false,
        Opt::Pretty => output.pretty = true,
        Opt::RandomFilter => output.random_share = random_share(word)?,
        Opt::Decode => {
            let decoder = Decoder::parse(&word.value.to_string_lossy());
            output.decoder = Some(decoder.ok_or_else(|| word.wrong(FORMS))?);
        }
        Opt::ToDir => give_place(word, output, Place::Folder(word.value.into()))?,
        Opt::Append => give_place(word, output, Place::Log(word.value.into()))?,
        Opt::Watch => give_place(word, output, Place::Table)?,
        Opt::MessageRate => output.message_rate = true,
        Opt::Debug => settings.debug = true,
        Opt::Quiet => settings.quiet = true,
        Opt::Probe => settings.probe = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Of ten thousand messages, how many. Mosquitto prints a tenth of what its manual says.
fn random_share(word: &Word<'_>) -> Result<u32, Problem> {
    let text = word.value.to_string_lossy();
    let share = match word.dialect {
        Dialect::Martlet => text.parse().unwrap_or(0.0) * 100.0,
        Dialect::Mosquitto => atof(&text) * 10.0,
    };
    if (1.0..10_001.0).contains(&share) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most ten thousand, and mosquitto cuts it off, too"
        )]
        return Ok(share as u32);
    }
    Err(Problem::Number {
        option: word.option(),
        read: 0,
        given: text.into_owned(),
        wants: "a percentage from 0.01 to 100",
    })
}

fn give_place(word: &Word<'_>, output: &mut Output, place: Place) -> Result<(), Problem> {
    let empty = |path: &Path| path.as_os_str().is_empty();
    match &place {
        Place::Folder(path) | Place::Log(path) if empty(path) => {
            return Err(word.wrong("a path"));
        }
        Place::Screen | Place::Folder(_) | Place::Log(_) | Place::Table => {}
    }
    if output.place != Place::Screen && output.place != place {
        return Err(Problem::Conflict {
            one: word.option(),
            other: "another place for messages",
            why: "give one of --to-dir, --append and --watch",
        });
    }
    output.place = place;
    Ok(())
}

/// What `--decode` takes.
const FORMS: &str = "a form of payloads; there are json, cbor, msgpack and protobuf";
