//! Everything that is in a store, a line for each record.

use std::io::{self, Write};

use super::describe::{Fields, JsonFields, TextFields, describe, name_of};
use super::look;
use crate::counting::{Checkpoints, Place, placed};
use crate::disk::{Access, Disk};
use crate::log::frame::{HEADER_BYTES, Kind};
use crate::log::mark::Mark;
use crate::log::scan::{Found, Window, read_frame};
use crate::log::settings::OpenError;
use crate::recovery::Recovery;

/// How the lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpForm {
    /// For people: `BATCH FILE:OFFSET KIND slot=… name=value …`, with a `-` in front if it does not count any more.
    Text,
    /// A JSON object a line.
    JsonLines,
}

/// Writes a line for each record, in the order in which they were written, and says what is not as it should be.
pub fn dump<D: Disk>(
    disk: &mut D,
    form: DumpForm,
    out: &mut dyn Write,
) -> Result<Recovery, OpenError> {
    let (mut survey, recovery) = look(disk, &mut |_| {})?;
    let checkpoints = survey.checkpoints(disk)?;
    let mut window = Window::tolerant();
    for segment in &survey.segments {
        let path = segment.header.path();
        let file = disk
            .open(&path, Access::Read)
            .map_err(OpenError::io("read", &path))?;
        window.forget();
        for span in &segment.spans {
            let mut at = span.start;
            while at < span.end {
                let read = read_frame(disk, &file, &segment.header, at, &mut window);
                let Some((found, next)) = read.map_err(OpenError::io("read", &path))? else {
                    return Err(OpenError::io("read", &path)(
                        io::ErrorKind::InvalidData.into(),
                    ));
                };
                let line = Line {
                    path: &path,
                    found: &found,
                    form,
                };
                line.write_all(&checkpoints, out)
                    .map_err(OpenError::io("write", "the dump"))?;
                at = next;
            }
        }
    }
    Ok(recovery)
}

/// What the lines of a frame have in common.
struct Line<'a> {
    path: &'a str,
    found: &'a Found<'a>,
    form: DumpForm,
}

impl Line<'_> {
    fn write_all(&self, checkpoints: &Checkpoints, out: &mut dyn Write) -> io::Result<()> {
        let sequence = self.found.header.sequence;
        if self.found.header.kind == Kind::Mark {
            let Some(mark) = Mark::decode(self.found.payload) else {
                return Ok(());
            };
            return self.write(0, "mark", None, true, out, &|fields| {
                fields.number("oldest_segment", mark.oldest_generation);
                fields.number("oldest_batch", mark.oldest_sequence);
                fields.number("session_counter", mark.session_counter);
                fields.number("number_counter", mark.number_counter);
                for lost in &mark.lost {
                    fields.text("lost", &format!("{} to {}", lost.start(), lost.end()));
                }
            });
        }
        for (offset, record) in placed(self.found.payload) {
            let slot = record.slot();
            let counts =
                slot.is_none_or(|slot| checkpoints.counts(slot, Place { sequence, offset }));
            self.write(offset, name_of(&record), slot, counts, out, &|fields| {
                describe(&record, fields);
            })?;
        }
        Ok(())
    }

    fn write(
        &self,
        offset: usize,
        name: &str,
        slot: Option<u8>,
        counts: bool,
        out: &mut dyn Write,
        fields: &dyn Fn(&mut dyn Fields),
    ) -> io::Result<()> {
        let sequence = self.found.header.sequence;
        let at = self.found.offset + (HEADER_BYTES + offset) as u64;
        match self.form {
            DumpForm::Text => {
                let mut line = TextFields::default();
                let dead = if counts { "" } else { "-" };
                line.word(format_args!("{dead}{sequence} {}:{at} {name}", self.path));
                line.option("slot", slot.map(u64::from));
                fields(&mut line);
                line.finish(out)
            }
            DumpForm::JsonLines => {
                let mut line = JsonFields::default();
                line.number("batch", sequence);
                line.text("file", self.path);
                line.number("offset", at);
                line.text("record", name);
                line.option("slot", slot.map(u64::from));
                line.flag("counts", counts);
                fields(&mut line);
                line.finish(out)
            }
        }
    }
}
