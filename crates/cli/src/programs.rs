//! Which program was started, and whether it has to behave as `mosquitto_*` does.

use std::ffi::OsStr;

/// The programs that talk to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Pub,
    Sub,
    Rr,
    Get,
    Conn,
}

impl Program {
    /// All of them, in the order of the help.
    pub(crate) const ALL: [Self; 5] = [Self::Pub, Self::Sub, Self::Rr, Self::Get, Self::Conn];

    /// The program with this name.
    pub(crate) fn by_name(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }

    /// The subcommand.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pub => "pub",
            Self::Sub => "sub",
            Self::Rr => "rr",
            Self::Get => "get",
            Self::Conn => "conn",
        }
    }

    /// One line about it.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Pub => "Publish messages",
            Self::Sub => "Subscribe and print what arrives",
            Self::Rr => "Send a request and print the response",
            Self::Get => "Print one retained value and end",
            Self::Conn => "Connect, and say stage by stage what works and what to mend",
        }
    }
}

/// A set of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Programs(u8);

impl Programs {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const PUB: Self = Self(1);
    pub(crate) const SUB: Self = Self(2);
    pub(crate) const RR: Self = Self(4);
    pub(crate) const GET: Self = Self(8);
    pub(crate) const CONN: Self = Self(16);
    /// Those that send messages.
    pub(crate) const SENDERS: Self = Self::PUB.and(Self::RR);
    /// Those that print messages.
    pub(crate) const READERS: Self = Self::SUB.and(Self::RR).and(Self::GET);
    /// The three that mosquitto has.
    pub(crate) const THREE: Self = Self::PUB.and(Self::SUB).and(Self::RR);
    pub(crate) const ALL: Self = Self::THREE.and(Self::GET).and(Self::CONN);

    /// The programs of both sets.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, program: Program) -> bool {
        let bit = match program {
            Program::Pub => Self::PUB,
            Program::Sub => Self::SUB,
            Program::Rr => Self::RR,
            Program::Get => Self::GET,
            Program::Conn => Self::CONN,
        };
        self.0 & bit.0 != 0
    }
}

/// Whose habits to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Our own: MQTT 5 by default, strict numbers, exit codes that tell what went wrong.
    Martlet,
    /// What Debian's mosquitto 2.0.11 does, faults included: started under its name.
    Mosquitto,
}
