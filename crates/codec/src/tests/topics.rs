//! Topic names, filters, share names and the matching rule.

use crate::{TopicErrorKind, TopicFilter, TopicName, topic_matches};
use std::string::String;

#[test]
fn names_and_filters_have_1_to_65535_bytes_and_no_nul() {
    //= mqtt5 4.7.3-1 test
    //= mqtt311 4.7.3-1 test
    assert_eq!(
        TopicName::new("").unwrap_err().kind(),
        TopicErrorKind::Empty
    );
    assert_eq!(
        TopicFilter::new("").unwrap_err().kind(),
        TopicErrorKind::Empty
    );
    //= mqtt5 4.7.3-2 test
    //= mqtt311 4.7.3-2 test
    let nul = TopicName::new("ab\0").unwrap_err();
    assert_eq!((nul.kind(), nul.offset()), (TopicErrorKind::Nul, 2));
    let nul = TopicFilter::new("+/\0").unwrap_err();
    assert_eq!((nul.kind(), nul.offset()), (TopicErrorKind::Nul, 2));
    let nul = TopicFilter::new("$share/g\0/a").unwrap_err();
    assert_eq!((nul.kind(), nul.offset()), (TopicErrorKind::Nul, 8));
    //= mqtt5 4.7.3-3 test
    //= mqtt311 4.7.3-3 test
    let longest: String = core::iter::repeat_n('a', 65_535).collect();
    assert!(TopicName::new(&longest).is_ok() && TopicFilter::new(&longest).is_ok());
    let longer: String = core::iter::repeat_n('a', 65_536).collect();
    assert_eq!(
        TopicName::new(&longer).unwrap_err().kind(),
        TopicErrorKind::TooLong
    );
    assert_eq!(
        TopicFilter::new(&longer).unwrap_err().kind(),
        TopicErrorKind::TooLong
    );
}

#[test]
fn a_topic_name_has_no_wildcard() {
    //= mqtt5 4.7.0-1 test
    //= mqtt311 4.7.1-1 test
    for (name, offset) in [("a/+", 2), ("#", 0), ("a+b", 1), ("a/b#", 3)] {
        let error = TopicName::new(name).unwrap_err();
        assert_eq!(
            (error.kind(), error.offset()),
            (TopicErrorKind::Wildcard, offset),
            "{name}"
        );
    }
    for name in ["/", "a", "a/", "/a", "//", "$SYS/x", "\u{FEFF}", "ä/ö"] {
        assert_eq!(TopicName::new(name).map(TopicName::as_str), Ok(name));
    }
}

#[test]
fn hash_stands_alone_in_the_last_level() {
    //= mqtt5 4.7.1-1 test
    //= mqtt311 4.7.1-2 test
    for filter in ["#", "/#", "a/#", "a//#", "+/#", "$SYS/#"] {
        assert!(TopicFilter::new(filter).is_ok(), "{filter}");
    }
    for (filter, offset) in [
        ("a#", 1),
        ("#a", 0),
        ("#/a", 0),
        ("a/#/b", 2),
        ("##", 0),
        ("a/b#", 3),
        ("+#", 1),
    ] {
        let error = TopicFilter::new(filter).unwrap_err();
        let expected = if filter == "+#" {
            (TopicErrorKind::PlusMisplaced, 0)
        } else {
            (TopicErrorKind::HashMisplaced, offset)
        };
        assert_eq!((error.kind(), error.offset()), expected, "{filter}");
    }
}

#[test]
fn plus_fills_its_level() {
    //= mqtt5 4.7.1-2 test
    //= mqtt311 4.7.1-3 test
    for filter in ["+", "/+", "+/", "a/+/b", "+/+", "+/a/#"] {
        assert!(TopicFilter::new(filter).is_ok(), "{filter}");
    }
    for (filter, offset) in [("a+", 1), ("+a", 0), ("a/b+", 3), ("a/+b/c", 2), ("++", 0)] {
        let error = TopicFilter::new(filter).unwrap_err();
        assert_eq!(
            (error.kind(), error.offset()),
            (TopicErrorKind::PlusMisplaced, offset),
            "{filter}"
        );
    }
}

#[test]
fn shared_filters_have_a_name_and_a_filter() {
    //= mqtt5 4.8.2-1 test
    let empty = TopicFilter::new("$share//a").unwrap_err();
    assert_eq!(
        (empty.kind(), empty.offset()),
        (TopicErrorKind::ShareNameEmpty, 7)
    );
    assert_eq!(
        TopicFilter::new("$share/").unwrap_err().kind(),
        TopicErrorKind::ShareNameEmpty
    );
    //= mqtt5 4.8.2-2 test
    for filter in ["$share/g", "$share/g/"] {
        let error = TopicFilter::new(filter).unwrap_err();
        assert_eq!(
            (error.kind(), error.offset()),
            (TopicErrorKind::ShareFilterMissing, filter.len())
        );
    }
    for filter in ["$share/+/a", "$share/#/a", "$share/a#/b", "$share/#"] {
        assert_eq!(
            TopicFilter::new(filter).unwrap_err().kind(),
            TopicErrorKind::ShareNameWildcard,
            "{filter}"
        );
    }
    let misplaced = TopicFilter::new("$share/g/a#").unwrap_err();
    assert_eq!(
        (misplaced.kind(), misplaced.offset()),
        (TopicErrorKind::HashMisplaced, 10)
    );

    let shared = TopicFilter::new("$share/g//f/+").unwrap();
    assert_eq!(shared.as_str(), "$share/g//f/+");
    assert_eq!(shared.share_name(), Some("g"));
    assert_eq!(shared.filter(), "/f/+");
    assert_eq!(shared.literal_prefix(), "/f");
    // "$share" alone, or another first level, is an ordinary filter.
    for filter in ["$share", "$shared/g/a", "share/g/a"] {
        let plain = TopicFilter::new(filter).unwrap();
        assert_eq!((plain.share_name(), plain.filter()), (None, filter));
    }
}

#[test]
fn literal_prefix_is_what_stands_before_the_first_wildcard() {
    for (filter, prefix) in [
        ("#", ""),
        ("+/a", ""),
        ("a/b/+/c", "a/b"),
        ("a/b/#", "a/b"),
        ("a/b", "a/b"),
        ("a/#", "a"),
        ("/+", ""),
        ("//#", "/"),
        ("$share/g/a/+", "a"),
        ("$share/g/#", ""),
    ] {
        let filter = TopicFilter::new(filter).unwrap();
        assert_eq!(filter.literal_prefix(), prefix, "{filter}");
        assert_eq!(
            filter.has_wildcard(),
            filter.as_str().contains(['+', '#']),
            "{filter}"
        );
    }
}

#[test]
fn matching_follows_the_examples_of_the_specification() {
    for (filter, matching, others) in [
        (
            "sport/tennis/player1/#",
            &[
                "sport/tennis/player1",
                "sport/tennis/player1/ranking",
                "sport/tennis/player1/a/b",
            ][..],
            &["sport/tennis", "sport/tennis/player11"][..],
        ),
        ("#", &["a", "/", "a/b", "/a"], &["$SYS/a", "$"]),
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/"],
            &["sport/tennis", "sport/tennis/player1/ranking"],
        ),
        ("sport/+", &["sport/"], &["sport", "sport/a/b"]),
        ("+", &["finance", "f$"], &["/finance", "a/b", "$x"]),
        (
            "+/+",
            &["/finance", "a/b", "/"],
            &["finance", "a/b/c", "$a/b"],
        ),
        ("/+", &["/finance", "/"], &["finance"]),
        ("a", &["a"], &["A", "/a", "a/"]),
        ("a//b", &["a//b"], &["a/b", "a/x/b"]),
        ("+/a/#", &["x/a", "/a", "x/a/"], &["a", "$x/a"]),
    ] {
        for topic in matching {
            assert!(topic_matches(filter, topic), "{filter} {topic}");
            assert!(
                TopicFilter::new(filter)
                    .unwrap()
                    .matches(TopicName::new(topic).unwrap())
            );
        }
        for topic in others {
            assert!(!topic_matches(filter, topic), "{filter} {topic}");
        }
    }
}

#[test]
fn wildcards_in_front_do_not_match_dollar_topics() {
    //= mqtt5 4.7.2-1 test
    //= mqtt311 4.7.2-1 test
    assert!(!topic_matches("#", "$SYS/uptime"));
    assert!(!topic_matches("+/uptime", "$SYS/uptime"));
    assert!(topic_matches("$SYS/#", "$SYS/uptime"));
    assert!(topic_matches("$SYS/+", "$SYS/uptime"));
    assert!(topic_matches("a/#", "a/$b"));
    assert!(topic_matches("a/+", "a/$b"));
}

#[test]
fn topics_are_compared_as_sent() {
    //= mqtt5 4.7.3-4 test
    //= mqtt311 4.7.3-4 test
    assert!(!topic_matches("\u{E9}", "e\u{301}"), "no normalisation");
    assert!(!topic_matches("a", "\u{FEFF}a"), "no mark is dropped");
    assert!(!topic_matches("ACCOUNTS", "Accounts"), "case matters");
    assert!(topic_matches("\u{FEFF}a/+", "\u{FEFF}a/b"));
}

#[test]
fn depth_is_no_recursion() {
    let topic: String = core::iter::repeat_n('/', 65_535).collect();
    let filter: String = core::iter::repeat_n("+/", 32_767).collect::<String>() + "#";
    assert!(topic_matches(&filter, &topic));
    assert!(
        TopicFilter::new(&filter)
            .unwrap()
            .matches(TopicName::new(&topic).unwrap())
    );
}
