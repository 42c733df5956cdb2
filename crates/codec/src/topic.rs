//! Topic names and topic filters: their syntax, shared subscriptions, and the reference rule for
//! matching.

use core::fmt;

/// A topic name without wildcards, 1 to 65,535 bytes: where a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        check_name(name.as_bytes()).map(|()| Self(name))
    }

    /// The name in these bytes if it is one; without saying what is wrong with it otherwise.
    pub(crate) fn from_bytes(name: &'a [u8]) -> Option<Self> {
        // No early end: the compiler makes vector code of it.
        let is_bad = |byte: u8| byte == 0 || byte == b'+' || byte == b'#';
        let bad = name.iter().fold(false, |bad, byte| bad | is_bad(*byte));
        if bad || name.is_empty() {
            return None;
        }
        core::str::from_utf8(name).ok().map(Self)
    }

    /// A name that was checked before.
    pub(crate) const fn from_accepted(name: &'a str) -> Self {
        Self(name)
    }

    /// The name as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A topic filter, perhaps with wildcards, perhaps shared: what a subscription asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter, including the syntax of `$share/name/filter`.
    pub fn new(filter: &'a str) -> Result<Self, TopicError> {
        check_filter(filter).map(|()| Self(filter))
    }

    /// A filter that was checked when its packet was decoded.
    pub(crate) const fn from_checked(filter: &'a str) -> Self {
        Self(filter)
    }

    /// The whole filter as it stands on the wire, with its `$share/name/`: what identifies a
    /// subscription.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The name between `$share/` and the next `/`, if this is a shared subscription.
    #[must_use]
    pub fn share_name(self) -> Option<&'a str> {
        split_share(self.0).map(|(name, _)| name)
    }

    /// What topics are matched against: the filter without its `$share/name/`.
    #[must_use]
    pub fn filter(self) -> &'a str {
        split_share(self.0).map_or(self.0, |(_, filter)| filter)
    }

    /// Whether [`filter`](Self::filter) has a `+` or `#`.
    #[must_use]
    pub fn has_wildcard(self) -> bool {
        self.filter().bytes().any(is_wildcard)
    }

    /// The levels in front of the first wildcard: `a/b` for `a/b/+/c` and `a/b/#`, empty for `#`
    /// and `+/a`, and the whole [`filter`](Self::filter) if it has no wildcard.
    #[must_use]
    pub fn literal_prefix(self) -> &'a str {
        let filter = self.filter();
        match filter.bytes().position(is_wildcard) {
            None => filter,
            // A wildcard fills its level, so the byte in front of it is a `/`, which is not part of
            // the prefix.
            Some(wildcard) => filter.get(..wildcard.saturating_sub(1)).unwrap_or_default(),
        }
    }

    /// Whether a message to this topic is for this subscription.
    #[must_use]
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        topic_matches(self.filter(), topic.as_str())
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The rule by which a filter (without `$share/name/`) matches a topic name: the reference for
/// every index of filters.
///
/// Levels are compared byte by byte; there is no recursion, whatever the depth.
#[must_use]
pub fn topic_matches(filter: &str, topic: &str) -> bool {
    //= mqtt5 4.7.2-1
    //= mqtt311 4.7.2-1
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    //= mqtt5 4.7.3-4
    //= mqtt311 4.7.3-4
    let mut topic_levels = topic.split('/');
    for filter_level in filter.split('/') {
        // `#` also stands for no level at all: "a/#" matches "a".
        if filter_level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(topic_level) if filter_level == "+" || filter_level == topic_level => {}
            Some(_) | None => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Why a string is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicError {
    kind: TopicErrorKind,
    offset: usize,
}

impl TopicError {
    const fn new(kind: TopicErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> TopicErrorKind {
        self.kind
    }

    /// The first byte that is wrong.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl core::error::Error for TopicError {}

/// What is wrong with a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicErrorKind {
    /// It has no character.
    Empty,
    /// It has more than 65,535 bytes.
    TooLong,
    /// It contains U+0000.
    Nul,
    /// A topic name contains `+` or `#`.
    Wildcard,
    /// `#` is not the last character, or not alone in its level.
    HashMisplaced,
    /// `+` does not fill its level.
    PlusMisplaced,
    /// `$share/` is followed by an empty name.
    ShareNameEmpty,
    /// The share name contains `+` or `#`.
    ShareNameWildcard,
    /// No filter follows the share name.
    ShareFilterMissing,
}

impl fmt::Display for TopicErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::TooLong => "longer than 65,535 bytes",
            Self::Nul => "contains U+0000",
            Self::Wildcard => "contains a wildcard",
            Self::HashMisplaced => "# is not alone in the last level",
            Self::PlusMisplaced => "+ does not fill its level",
            Self::ShareNameEmpty => "empty share name",
            Self::ShareNameWildcard => "wildcard in the share name",
            Self::ShareFilterMissing => "no topic filter behind the share name",
        })
    }
}

const SHARE_PREFIX: &str = "$share/";

const fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'+' | b'#')
}

fn check_name(name: &[u8]) -> Result<(), TopicError> {
    //= mqtt5 4.7.3-1
    //= mqtt311 4.7.3-1
    if name.is_empty() {
        return Err(TopicError::new(TopicErrorKind::Empty, 0));
    }
    //= mqtt5 4.7.3-3
    //= mqtt311 4.7.3-3
    if name.len() > usize::from(u16::MAX) {
        return Err(TopicError::new(
            TopicErrorKind::TooLong,
            usize::from(u16::MAX),
        ));
    }
    // Every byte of a legal name has to be read anyway. Without an early exit the loop runs on
    // whole vectors of bytes.
    let illegal = |byte: &&u8| **byte == 0 || is_wildcard(**byte);
    if name.iter().filter(illegal).count() == 0 {
        return Ok(());
    }
    let at = name
        .iter()
        .position(|byte| illegal(&byte))
        .unwrap_or_default();
    //= mqtt5 4.7.3-2
    //= mqtt311 4.7.3-2
    //= mqtt5 4.7.0-1
    //= mqtt311 4.7.1-1
    let nul = name.get(at) == Some(&0);
    let kind = if nul {
        TopicErrorKind::Nul
    } else {
        TopicErrorKind::Wildcard
    };
    Err(TopicError::new(kind, at))
}

fn check_filter(whole: &str) -> Result<(), TopicError> {
    //= mqtt5 4.7.3-1
    //= mqtt311 4.7.3-1
    if whole.is_empty() {
        return Err(TopicError::new(TopicErrorKind::Empty, 0));
    }
    //= mqtt5 4.7.3-3
    //= mqtt311 4.7.3-3
    if whole.len() > usize::from(u16::MAX) {
        return Err(TopicError::new(
            TopicErrorKind::TooLong,
            usize::from(u16::MAX),
        ));
    }
    let filter = match whole.strip_prefix(SHARE_PREFIX) {
        None => whole,
        Some(shared) => check_share(shared)?,
    };
    // What `$share/name/` takes away from the front; 0 for other filters.
    let start = whole.len() - filter.len();
    let mut previous = b'/';
    let mut bytes = filter.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|&(_, byte)| byte);
        let kind = match byte {
            //= mqtt5 4.7.3-2
            //= mqtt311 4.7.3-2
            0 => Some(TopicErrorKind::Nul),
            //= mqtt5 4.7.1-1
            //= mqtt311 4.7.1-2
            b'#' if previous != b'/' || next.is_some() => Some(TopicErrorKind::HashMisplaced),
            //= mqtt5 4.7.1-2
            //= mqtt311 4.7.1-3
            b'+' if previous != b'/' || next.is_some_and(|next| next != b'/') => {
                Some(TopicErrorKind::PlusMisplaced)
            }
            _ => None,
        };
        if let Some(kind) = kind {
            return Err(TopicError::new(kind, start + at));
        }
        previous = byte;
    }
    Ok(())
}

/// Checks what follows `$share/` and returns the filter behind the share name.
fn check_share(shared: &str) -> Result<&str, TopicError> {
    let (name, filter) = shared.split_once('/').unwrap_or((shared, ""));
    let name_start = SHARE_PREFIX.len();
    //= mqtt5 4.8.2-1
    if name.is_empty() {
        return Err(TopicError::new(TopicErrorKind::ShareNameEmpty, name_start));
    }
    //= mqtt5 4.8.2-2
    if let Some(at) = name.bytes().position(|byte| byte == 0 || is_wildcard(byte)) {
        let nul = name.as_bytes().get(at) == Some(&0);
        let kind = if nul {
            TopicErrorKind::Nul
        } else {
            TopicErrorKind::ShareNameWildcard
        };
        return Err(TopicError::new(kind, name_start + at));
    }
    if filter.is_empty() {
        return Err(TopicError::new(
            TopicErrorKind::ShareFilterMissing,
            name_start + shared.len(),
        ));
    }
    Ok(filter)
}

fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE_PREFIX)?.split_once('/')
}
