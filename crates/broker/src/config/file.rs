//! The TOML file: every key looked up in the table of settings, every mistake noted with its place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{FIELDS, Field};
use super::problem::{Origin, Problem, nearest};
use super::sources::{RawListener, Setting, Sources};
use super::value::Value;

/// Reads the text of a file into the sources.
pub(super) fn read(sources: &mut Sources, name: &str, text: &str) {
    let mut reader = Reader {
        sources,
        name,
        text,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        reader.top_level(document.get_ref());
        // Tables are sorted by key; people read files from the top.
        sources
            .problems
            .sort_by_key(|problem| match problem.origin {
                Origin::File { line, column, .. } => (line, column),
                Origin::Default | Origin::Environment(_) | Origin::Flag(_) => (usize::MAX, 0),
            });
        return;
    }
    // What stands behind a syntax error was perhaps misread: further complaints would be guesses.
    for error in errors {
        let origin = reader.origin(error.span().unwrap_or_default());
        reader.problem(origin, "", error.message().trim().replace('\n', "; "));
    }
}

struct Reader<'a> {
    sources: &'a mut Sources,
    name: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn top_level(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let origin = self.origin(key.span());
            match key.get_ref().as_ref() {
                LISTENERS => self.listeners(value),
                section if SECTIONS.contains(&section) => match value.get_ref().as_table() {
                    Some(inner) => self.section(section, inner),
                    None => self.wrong_type(value, section, &format!("a section [{section}]")),
                },
                key => self.scalar("", key, origin, value),
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let origin = self.origin(key.span());
            self.scalar(section, key.get_ref(), origin, value);
        }
    }

    fn scalar(&mut self, section: &str, key: &str, at: Origin, value: &Spanned<DeValue<'_>>) {
        let field = FIELDS
            .iter()
            .find(|field| field.section_and_key() == (section, key));
        let Some(field) = field else {
            self.problem(at, &path(section, key), unknown_key(section, key));
            return;
        };
        match checked(field, value.get_ref()) {
            Some(checked) => {
                let origin = self.origin(value.span());
                self.sources.set(field, checked, origin);
            }
            None => self.wrong_type(value, field.path, &field.kind.expectation()),
        }
    }

    fn listeners(&mut self, value: &Spanned<DeValue<'_>>) {
        let form = "a list of sections [[listeners]] with address = \"127.0.0.1:1883\"";
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(value, LISTENERS, form);
            return;
        };
        let mut listeners = Vec::new();
        for item in list {
            match item.get_ref().as_table() {
                Some(table) => listeners.extend(self.listener(item.span(), table)),
                None => self.wrong_type(item, LISTENERS, form),
            }
        }
        if list.is_empty() {
            let origin = self.origin(value.span());
            self.problem(
                origin,
                LISTENERS,
                format!("the list is empty; expected {form}"),
            );
        }
        self.sources.listeners = Some(listeners);
    }

    fn listener(&mut self, span: Range<usize>, table: &DeTable<'_>) -> Option<RawListener> {
        let mut address = None;
        let mut allow_anonymous = false;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "address" => match value.get_ref().as_str() {
                    Some(text) => {
                        address = Some(Setting {
                            value: text.to_owned(),
                            origin: self.origin(value.span()),
                        });
                    }
                    None => self.wrong_type(value, "listeners.address", ADDRESS_FORM),
                },
                "allow_anonymous" => match value.get_ref().as_bool() {
                    Some(switch) => allow_anonymous = switch,
                    None => self.wrong_type(value, "listeners.allow_anonymous", "true or false"),
                },
                unknown => {
                    let origin = self.origin(key.span());
                    let near = nearest(unknown, LISTENER_KEYS.iter().copied());
                    let what = suggestion(near, LISTENER_KEYS);
                    self.problem(origin, &path(LISTENERS, unknown), what);
                }
            }
        }
        if address.is_none() && !table.contains_key("address") {
            let origin = self.origin(span);
            let what = format!("missing; expected {ADDRESS_FORM}");
            self.problem(origin, "listeners.address", what);
        }
        Some(RawListener {
            address: address?,
            allow_anonymous,
        })
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, field: &str, expected: &str) {
        let origin = self.origin(value.span());
        let found = value.get_ref().type_str();
        let shown = self.text.get(value.span()).unwrap_or_default();
        let shown: String = shown
            .chars()
            .take_while(|c| *c != '\n')
            .take(SHOWN_CHARS_MAX)
            .collect();
        self.problem(
            origin,
            field,
            format!("expected {expected}; found {found} {shown}"),
        );
    }

    fn problem(&mut self, origin: Origin, field: &str, what: String) {
        self.sources.problems.push(Problem {
            origin,
            field: field.to_owned(),
            what,
        });
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            name: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// The value of a field in the file's own types; `None` if it is of another kind or out of range.
fn checked(field: &Field, value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => field.kind.text(text),
        DeValue::Integer(integer) => {
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            field.kind.number(number)
        }
        DeValue::Boolean(switch) => {
            (field.kind == super::value::Kind::Switch).then_some(Value::Switch(*switch))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// 'unknown key', and what was probably meant: a near key here, the same key elsewhere, or the keys there are.
fn unknown_key(section: &str, key: &str) -> String {
    let mut here: Vec<&str> = FIELDS
        .iter()
        .map(Field::section_and_key)
        .filter(|(of, _)| *of == section)
        .map(|(_, key)| key)
        .collect();
    if section.is_empty() {
        here.push(LISTENERS);
        here.extend(SECTIONS);
    }
    let near = nearest(key, here.iter().copied());
    let elsewhere = FIELDS
        .iter()
        .find(|field| field.section_and_key().1 == key)
        .map(Field::section_and_key);
    match (near, elsewhere) {
        (None, Some(("", key))) => {
            format!("unknown key; '{key}' belongs to the top of the file, before any section")
        }
        (None, Some((section, key))) => {
            format!("unknown key; '{key}' belongs to the section [{section}]")
        }
        (near, _) => suggestion(near, &here),
    }
}

fn suggestion(near: Option<&str>, known: &[&str]) -> String {
    near.map_or_else(
        || format!("unknown key; known here: {}", known.join(", ")),
        |near| format!("unknown key; did you mean '{near}'?"),
    )
}

fn path(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// The list of listeners, the only key that is no scalar.
const LISTENERS: &str = "listeners";
const LISTENER_KEYS: &[&str] = &["address", "allow_anonymous"];
const SECTIONS: &[&str] = &["limits", "session", "storage", "log"];
/// How an address is written, for messages.
pub(super) const ADDRESS_FORM: &str =
    "an address and a port, as \"127.0.0.1:1883\", \"[::1]:1883\" or \"localhost:1883\"";
/// How much of a wrong value a message shows.
const SHOWN_CHARS_MAX: usize = 40;
