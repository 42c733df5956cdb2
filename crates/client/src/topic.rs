//! Topics and filters as the application hands them over: checked once, cheap to clone.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use martlet_codec::{
    QoS, RetainHandling, SubscriptionOptions, TopicError, TopicErrorKind, TopicFilter, TopicName,
};

/// A topic to publish to: no wildcards, 1 to 65,535 bytes.
///
/// Cloning it copies no text. A program that publishes to the same topic again and again keeps one;
/// [`topic!`](crate::topic!) makes one at compile time.
///
/// Methods that take a topic take anything that is [`IntoTopic`]. What is no legal topic is reported
/// by the publish that uses it, as [`ErrorKind::InvalidTopic`](crate::ErrorKind::InvalidTopic).
#[derive(Clone)]
pub struct Topic(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    Shared(Arc<str>),
    /// Refused where it is used: so that builders need no `?`.
    Invalid(Arc<str>),
}

impl Topic {
    /// Checks a topic.
    pub fn new(name: &str) -> Result<Self, TopicError> {
        TopicName::new(name).map(|_| Self(Repr::Shared(name.into())))
    }

    /// A topic that is known when the program is compiled; see [`topic!`](crate::topic!).
    ///
    /// # Panics
    /// If the text is no legal topic. In a `const` that is an error of compilation.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= u16::MAX as usize,
            "a topic has 1 to 65,535 bytes"
        );
        let mut rest = bytes;
        while let [first, behind @ ..] = rest {
            assert!(
                !matches!(*first, b'+' | b'#' | 0),
                "a topic has no wildcard and no U+0000"
            );
            rest = behind;
        }
        Self(Repr::Static(name))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(name) => name,
            Repr::Shared(name) | Repr::Invalid(name) => name,
        }
    }

    /// A topic that the codec has checked.
    pub(crate) fn from_checked(name: &str) -> Self {
        Self(Repr::Shared(name.into()))
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<TopicError> {
        match &self.0 {
            Repr::Static(_) | Repr::Shared(_) => None,
            Repr::Invalid(name) => TopicName::new(name).err(),
        }
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Topic {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Topic {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What can be used as a [`Topic`].
pub trait IntoTopic {
    /// The topic, perhaps one that will be refused.
    fn into_topic(self) -> Topic;
}

impl IntoTopic for Topic {
    fn into_topic(self) -> Topic {
        self
    }
}

impl IntoTopic for &Topic {
    fn into_topic(self) -> Topic {
        self.clone()
    }
}

impl IntoTopic for &str {
    fn into_topic(self) -> Topic {
        let valid = TopicName::new(self).is_ok();
        let text = self.into();
        Topic(if valid {
            Repr::Shared(text)
        } else {
            Repr::Invalid(text)
        })
    }
}

impl IntoTopic for String {
    fn into_topic(self) -> Topic {
        self.as_str().into_topic()
    }
}

impl IntoTopic for &String {
    fn into_topic(self) -> Topic {
        self.as_str().into_topic()
    }
}

/// A [`Topic`] that is checked when the program is compiled.
///
/// ```
/// use martlet_client::{Topic, topic};
/// const POWER: Topic = topic!("meter/power");
/// assert_eq!(POWER, "meter/power");
/// ```
/// ```compile_fail
/// let _ = martlet_client::topic!("meter/+");
/// ```
#[macro_export]
macro_rules! topic {
    ($name:expr) => {
        const { $crate::Topic::from_static($name) }
    };
}

/// A topic filter with the options of its subscription.
///
/// ```
/// use martlet_client::Filter;
/// let filter = Filter::new("cmd/+/set").qos(1).no_local();
/// # let _ = filter;
/// ```
/// What is no legal filter is reported by the subscribe that uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) text: Arc<str>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) qos_valid: bool,
}

impl Filter {
    /// A filter, perhaps with wildcards or `$share/group/`, at QoS 0.
    #[must_use]
    pub fn new(filter: impl AsRef<str>) -> Self {
        Self {
            text: filter.as_ref().into(),
            options: SubscriptionOptions::default(),
            qos_valid: true,
        }
    }

    /// The highest QoS at which messages are wanted.
    #[must_use]
    pub fn qos(mut self, qos: impl IntoQoS) -> Self {
        match qos.into_qos() {
            Some(qos) => self.options.qos = qos,
            None => self.qos_valid = false,
        }
        self
    }

    /// Not the messages that this client publishes itself (MQTT 5.0 only).
    #[must_use]
    pub const fn no_local(mut self) -> Self {
        self.options.no_local = true;
        self
    }

    /// Keeps the RETAIN flag as the publisher set it (MQTT 5.0 only).
    #[must_use]
    pub const fn retain_as_published(mut self) -> Self {
        self.options.retain_as_published = true;
        self
    }

    /// When retained messages are sent (MQTT 5.0 only).
    #[must_use]
    pub const fn retain_handling(mut self, handling: RetainHandling) -> Self {
        self.options.retain_handling = handling;
        self
    }

    /// The text, with its `$share/group/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn check(&self) -> Result<(), TopicError> {
        TopicFilter::new(&self.text).map(|_| ())
    }

    /// Whether it says something that only 5.0 can.
    pub(crate) fn needs_v5(&self) -> bool {
        self.options != SubscriptionOptions::with_qos(self.options.qos)
    }
}

/// What can be used as a [`Filter`]: a string, or a filter with options.
pub trait IntoFilter {
    /// The filter, perhaps one that will be refused.
    fn into_filter(self) -> Filter;
}

impl IntoFilter for Filter {
    fn into_filter(self) -> Filter {
        self
    }
}

impl IntoFilter for &str {
    fn into_filter(self) -> Filter {
        Filter::new(self)
    }
}

impl IntoFilter for String {
    fn into_filter(self) -> Filter {
        Filter::new(self)
    }
}

impl IntoFilter for &String {
    fn into_filter(self) -> Filter {
        Filter::new(self)
    }
}

impl IntoFilter for &Topic {
    fn into_filter(self) -> Filter {
        Filter::new(self)
    }
}

/// What can be used as a QoS: [`QoS`], or 0, 1 or 2. Another number is reported where it is used.
pub trait IntoQoS {
    /// The QoS, `None` if it is none.
    fn into_qos(self) -> Option<QoS>;
}

impl IntoQoS for QoS {
    fn into_qos(self) -> Option<QoS> {
        Some(self)
    }
}

impl IntoQoS for u8 {
    fn into_qos(self) -> Option<QoS> {
        QoS::from_bits(self)
    }
}

impl IntoQoS for i32 {
    fn into_qos(self) -> Option<QoS> {
        u8::try_from(self).ok().and_then(QoS::from_bits)
    }
}

/// What is wrong with a text that is neither: for error messages.
pub(crate) fn describe(error: TopicError) -> String {
    if error.kind() == TopicErrorKind::Wildcard {
        return format!("{error}; wildcards belong in filters, not in topics to publish to");
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_topic_is_remembered_until_it_is_used() {
        assert!("a/b".into_topic().fault().is_none());
        let error = "a/+".into_topic().fault().unwrap();
        assert_eq!(error.kind(), TopicErrorKind::Wildcard);
        assert!(Topic::new("").is_err());
        assert_eq!("a/b".into_topic(), topic!("a/b"));
    }

    #[test]
    fn numbers_are_qos_if_they_are() {
        assert_eq!(2.into_qos(), Some(QoS::ExactlyOnce));
        assert_eq!(3.into_qos(), None);
        assert_eq!((-1).into_qos(), None);
        assert!(!Filter::new("a").qos(7).qos_valid);
        assert!(Filter::new("a").no_local().needs_v5());
        assert!(!Filter::new("a").qos(2).needs_v5());
    }
}
