//! The statement tables and the list of exceptions, read from CSV.

use std::collections::BTreeMap;

use crate::spec::Standard;

/// One normative statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// As in a citation: without the `MQTT-` in front.
    pub(crate) id: String,
    pub(crate) side: Side,
    pub(crate) level: String,
    pub(crate) summary: String,
}

/// Whom a statement binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
    Both,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        }
    }
}

/// One specification's statements, in its own order.
#[derive(Debug)]
pub(crate) struct Statements {
    rows: Vec<Statement>,
    by_id: BTreeMap<String, usize>,
}

impl Statements {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rows = Vec::new();
        let mut by_id = BTreeMap::new();
        for (line, fields) in csv_rows(text, &["id", "section", "side", "level", "summary"])? {
            let [id, _section, side, level, summary] = fields.as_slice() else {
                continue;
            };
            let side = match side.as_str() {
                "server" => Side::Server,
                "client" => Side::Client,
                "both" => Side::Both,
                other => return Err(format!("line {line}: '{other}' is not a side")),
            };
            let Some(id) = id.strip_prefix("MQTT-") else {
                return Err(format!("line {line}: '{id}' does not start with MQTT-"));
            };
            if by_id.insert(id.to_owned(), rows.len()).is_some() {
                return Err(format!("line {line}: {id} is there twice"));
            }
            rows.push(Statement {
                id: id.to_owned(),
                side,
                level: level.clone(),
                summary: summary.clone(),
            });
        }
        Ok(Self { rows, by_id })
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Statement> {
        self.by_id.get(id).and_then(|index| self.rows.get(*index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Statement> {
        self.rows.iter()
    }
}

/// Statements that a broker can break and that still have no test, each with the reason.
#[derive(Debug)]
pub(crate) struct Exceptions {
    reasons: BTreeMap<(Standard, String), String>,
}

impl Exceptions {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reasons = BTreeMap::new();
        for (line, fields) in csv_rows(text, &["version", "id", "reason"])? {
            let [version, id, reason] = fields.as_slice() else {
                continue;
            };
            let Some(standard) = Standard::from_word(version) else {
                return Err(format!(
                    "line {line}: '{version}' is neither mqtt311 nor mqtt5"
                ));
            };
            if reason.trim().is_empty() {
                return Err(format!("line {line}: {id} has no reason"));
            }
            if reasons
                .insert((standard, id.clone()), reason.clone())
                .is_some()
            {
                return Err(format!("line {line}: {id} is there twice"));
            }
        }
        Ok(Self { reasons })
    }

    pub(crate) fn reason(&self, standard: Standard, id: &str) -> Option<&str> {
        self.reasons
            .get(&(standard, id.to_owned()))
            .map(String::as_str)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (Standard, &str)> {
        self.reasons
            .keys()
            .map(|(standard, id)| (*standard, id.as_str()))
    }

    pub(crate) fn count(&self) -> usize {
        self.reasons.len()
    }
}

/// The rows behind a header, each with its line number. Fields may be quoted; none spans lines.
fn csv_rows(text: &str, header: &[&str]) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, first)) if csv_fields(first) == header => {}
        _ => return Err(format!("the first line is not '{}'", header.join(","))),
    }
    let mut rows = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields = csv_fields(line);
        if fields.len() != header.len() {
            let (found, wanted) = (fields.len(), header.len());
            return Err(format!(
                "line {}: {found} fields instead of {wanted}",
                index + 1
            ));
        }
        rows.push((index + 1, fields));
    }
    Ok(rows)
}

fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else {
            break;
        };
        match character {
            // A doubled quote inside quotes is one quote.
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_may_hold_commas_and_quotes() {
        assert_eq!(csv_fields(r#"a,"b, ""c""",d"#), ["a", r#"b, "c""#, "d"]);
    }

    #[test]
    fn a_table_with_a_double_id_an_odd_side_or_a_short_row_is_refused() {
        let head = "id,section,side,level,summary\n";
        for (rows, complaint) in [
            (
                "MQTT-1-1,1,both,MUST,x\nMQTT-1-1,1,both,MUST,x\n",
                "line 3: 1-1 is there twice",
            ),
            (
                "MQTT-1-1,1,sidecar,MUST,x\n",
                "line 2: 'sidecar' is not a side",
            ),
            ("MQTT-1-1,1,both,MUST\n", "line 2: 4 fields instead of 5"),
            (
                "1-1,1,both,MUST,x\n",
                "line 2: '1-1' does not start with MQTT-",
            ),
        ] {
            assert_eq!(
                Statements::parse(&format!("{head}{rows}")).unwrap_err(),
                complaint
            );
        }
        assert!(
            Statements::parse("MQTT-1-1,1,both,MUST,x\n").is_err(),
            "no header"
        );
    }

    #[test]
    fn an_exception_needs_a_reason() {
        let text = "version,id,reason\nmqtt5,1-1, \n";
        assert_eq!(
            Exceptions::parse(text).unwrap_err(),
            "line 2: 1-1 has no reason"
        );
    }
}
