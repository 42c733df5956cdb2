//! Prints messages as the options want them.

use std::fmt;

use martlet_codec::Properties;

use super::fields::{self, Context};
use super::time::{LocalTime, Zone};
use super::{Format, Piece};
use crate::programs::Dialect;
use crate::settings::{Kind, Output};

/// A message that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    /// As it is to be shown: decoded, if that was asked for.
    pub(crate) payload: &'a [u8],
    /// Of the payload that came.
    pub(crate) payload_length: usize,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties<'a>,
}

/// What is to be said about a message on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Complaint {
    NotJson { topic: String },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { topic } => {
                write!(
                    f,
                    "Error: Message payload is not valid JSON on topic {topic}."
                )
            }
        }
    }
}

/// Prints messages as the options want them.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line are independent"
)]
pub(crate) struct Printer {
    format: Option<Format>,
    kind: Kind,
    verbose: bool,
    end_of_line: bool,
    pretty: bool,
    share: u32,
    /// Payloads are JSON.
    decoded: bool,
    dialect: Dialect,
    zone: Zone,
    dice: u64,
}

impl Printer {
    /// A printer; the seed decides which messages `--random-filter` lets through.
    pub(crate) fn new(output: &Output, dialect: Dialect, seed: u64) -> Self {
        Self {
            format: output.format.clone(),
            kind: output.kind,
            verbose: output.verbose,
            end_of_line: output.end_of_line,
            pretty: output.pretty,
            share: output.random_share,
            decoded: output.decoder.is_some(),
            dialect,
            zone: Zone::local(),
            dice: seed | 1,
        }
    }

    /// Whether `--random-filter` lets the next message through.
    pub(crate) fn lets_through(&mut self) -> bool {
        self.share >= 10_000 || self.roll() < self.share
    }

    /// Appends a message, and returns what is to be said about it elsewhere.
    pub(crate) fn print(&self, message: &Incoming<'_>, out: &mut Vec<u8>) -> Option<Complaint> {
        let end: &[u8] = if self.end_of_line { b"\n" } else { b"" };
        if self.format.is_some() {
            return self.formatted(message, out);
        }
        match self.kind {
            Kind::Raw => out.extend_from_slice(message.payload),
            Kind::Json => {
                let time = LocalTime::now(&self.zone);
                fields::print_json(message, self.context(&time), self.decoded, out);
                out.extend_from_slice(end);
            }
            Kind::Text if self.verbose && message.payload.is_empty() => {
                if self.end_of_line {
                    out.extend_from_slice(message.topic.as_bytes());
                    out.extend_from_slice(b" (null)\n");
                }
            }
            Kind::Text if message.payload.is_empty() => {}
            Kind::Text => {
                if self.verbose {
                    out.extend_from_slice(message.topic.as_bytes());
                    out.push(b' ');
                }
                out.extend_from_slice(message.payload);
                out.extend_from_slice(end);
            }
        }
        None
    }

    fn formatted(&self, message: &Incoming<'_>, out: &mut Vec<u8>) -> Option<Complaint> {
        let time = LocalTime::now(&self.zone);
        self.formatted_at(&time, message, out)
    }

    fn formatted_at(
        &self,
        time: &LocalTime,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Complaint> {
        let mut complaint = None;
        for piece in self.format.iter().flat_map(|format| &format.0) {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Clock(conversion) => time.strftime(*conversion, out),
                Piece::Field(field) => {
                    if let Err(error) = fields::print(*field, message, self.context(time), out) {
                        complaint = Some(error);
                    }
                }
            }
        }
        if self.end_of_line {
            out.push(b'\n');
        }
        complaint
    }

    fn context<'a>(&self, time: &'a LocalTime) -> Context<'a> {
        Context {
            time,
            dialect: self.dialect,
            pretty: self.pretty,
        }
    }

    /// A number below 10,000 (xorshift: which messages are left out is no secret).
    fn roll(&mut self) -> u32 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        u32::try_from((self.dice >> 11) % 10_000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use martlet_codec::{Properties, PropertiesBuf, Property};

    use super::{Complaint, Incoming, Printer};
    use crate::format::Format;
    use crate::programs::Dialect::{self, Martlet, Mosquitto};
    use crate::programs::Program;
    use crate::settings::{Kind, Settings};

    fn printer(format: &str, dialect: Dialect) -> Printer {
        let mut settings = Settings::new(Program::Sub, dialect);
        if !format.is_empty() {
            settings.output.format = Some(Format::parse(format.as_bytes(), dialect).unwrap());
        }
        Printer::new(&settings.output, dialect, 7)
    }

    fn message<'a>(topic: &'a str, payload: &'a [u8], properties: Properties<'a>) -> Incoming<'a> {
        Incoming {
            topic,
            payload,
            payload_length: payload.len(),
            qos: 0,
            retain: true,
            packet_id: 0,
            properties,
        }
    }

    fn print(format: &str, message: &Incoming<'_>) -> String {
        let mut out = Vec::new();
        assert_eq!(printer(format, Mosquitto).print(message, &mut out), None);
        String::from_utf8_lossy(&out).into_owned()
    }

    const ALL: &str = "|%10t|%-10t|%.2t|%5p|%-5p|%05p|%x|%8X|%-8x|%08X|%l|%4l|%04l|%-4l|%q|%r|%m|%3m|%A|%4A|%04A|%C|\
                       %12C|%-12C|%.3C|%D|%E|%6E|%F|%3F|%P|%R|%15R|%S|%3S|%%|";

    /// Measured: mosquitto_sub 2.0.11 with this format.
    #[test]
    fn fields_are_mosquittos_byte_for_byte() {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::ContentType("text/plain"))
            .push(Property::CorrelationData(b"c d"))
            .push(Property::UserProperty("a", "b"))
            .push(Property::UserProperty("c", "d e"))
            .push(Property::MessageExpiryInterval(1_000))
            .push(Property::PayloadFormatIndicator(1))
            .push(Property::ResponseTopic("resp/x"));
        let rich = message("r/5", b"prop", properties.as_properties());
        assert_eq!(
            print(ALL, &rich),
            "|       r/5|r/5       |r/| prop|prop |0prop|70726f70|    7072|7072    |00007072|4|   4|0004|4   |0|1|0|  \
             0||    |0000|text/plain|  text/plain|text/plain  |tex|c d|1000|  1000|1|  1|a:b c:d e|resp/x|         \
             resp/x||   |%|\n"
        );
        let plain = Incoming {
            qos: 1,
            packet_id: 1,
            ..message("r/1", b"hello", Properties::EMPTY)
        };
        assert_eq!(
            print(ALL, &plain),
            "|       r/1|r/1       |r/|hello|hello|hello|68656c6c6f|    6865|6865    |00006865|5|   5|0005|5   \
             |1|1|1|  1||    |0000||            |            ||||      ||   |||||   |%|\n"
        );
        assert_eq!(
            print("%.t|%5.t|%.30t|%0t|%-0t|%-05t|%00005l", &plain),
            "|     |r/1|r/1|r/1|r/1  |00005\n"
        );
        assert_eq!(
            print("\\a\\e\\n\\r\\t\\v\\\\\\0x@@", &plain),
            "\u{7}\u{1b}\n\r\t\u{b}\\\0x@\n"
        );
    }

    #[test]
    fn long_payloads_are_cut_to_the_width() {
        let long = message("t", b"{\"b\":1.0}", Properties::EMPTY);
        assert_eq!(
            print("%5p|%8x|%-8X|%3x", &long),
            "{\"b\":|7b226222|7B226222| 7b\n"
        );
    }

    #[test]
    fn json_of_mosquitto_is_cut_at_nul_and_ours_is_not() {
        let binary = message("t", b"\xff\x00\x01", Properties::EMPTY);
        let mut out = Vec::new();
        printer("%j", Mosquitto).print(&binary, &mut out);
        assert!(out.ends_with(b"\"payload\":\"\xff\"}\n"));
        out.clear();
        printer("%j", Martlet).print(&binary, &mut out);
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(object["payload_b64"], "/wAB");
        assert_eq!(object["payloadlen"], 3);
        out.clear();
        printer("%J", Martlet).print(&binary, &mut out);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        let text = message("t", b"a\x00\xc3\xa9", Properties::EMPTY);
        out.clear();
        printer("%j", Martlet).print(&text, &mut out);
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(object["payload"], "a\0\u{e9}");
    }

    #[test]
    fn a_payload_that_is_no_json_is_complained_about() {
        let mut out = Vec::new();
        let complaint =
            printer("a%Jb", Mosquitto).print(&message("t", b"x", Properties::EMPTY), &mut out);
        assert_eq!(
            complaint,
            Some(Complaint::NotJson {
                topic: "t".to_owned()
            })
        );
        assert_eq!(out, b"ab\n");
    }

    #[test]
    fn properties_stand_in_the_object_in_their_order() {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::UserProperty("a", "b"))
            .push(Property::ContentType("x"))
            .push(Property::UserProperty("a", "c"))
            .push(Property::CorrelationData(b"\xff"));
        let rich = message("t", b"p", properties.as_properties());
        let mut out = Vec::new();
        printer("%j", Martlet).print(&rich, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains(
                "\"properties\":{\"user-properties\":{\"a\":\"b\",\"a\":\"c\"},\"content-type\":\"x\",\
                 \"correlation-data_b64\":\"/w==\"},\"payload\":\"p\"}"
            ),
            "{text}"
        );
    }

    #[test]
    fn without_a_format_payloads_are_lines() {
        let text = message("t", b"x", Properties::EMPTY);
        let empty = message("t", b"", Properties::EMPTY);
        let mut printer = printer("", Mosquitto);
        let print = |printer: &mut Printer, message: &Incoming<'_>| {
            let mut out = Vec::new();
            printer.print(message, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(&mut printer, &text), "x\n");
        assert_eq!(print(&mut printer, &empty), "");
        printer.verbose = true;
        assert_eq!(print(&mut printer, &text), "t x\n");
        assert_eq!(print(&mut printer, &empty), "t (null)\n");
        printer.end_of_line = false;
        assert_eq!(print(&mut printer, &text), "t x");
        assert_eq!(print(&mut printer, &empty), "");
        printer.kind = Kind::Raw;
        assert_eq!(print(&mut printer, &text), "x");
    }

    #[test]
    fn a_random_filter_lets_its_share_through() {
        let mut printer = printer("", Martlet);
        printer.share = 2_500;
        let mut out = Vec::new();
        for _ in 0..4_000 {
            if printer.lets_through() {
                printer.print(&message("t", b"x", Properties::EMPTY), &mut out);
            }
        }
        let shown = out.len() / 2;
        assert!((800..1_200).contains(&shown), "{shown} of 4000");
    }

    #[test]
    fn floats_and_groups_of_digits() {
        let float = 1.5_f32.to_le_bytes();
        let mut out = Vec::new();
        printer("%f|%.2f|%8.1f|%d|%.2:x|%.1 X", Martlet)
            .print(&message("t", &float, Properties::EMPTY), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1.500000|1.50|     1.5||0000:c03f|00 00 C0 3F\n"
        );
    }
}
