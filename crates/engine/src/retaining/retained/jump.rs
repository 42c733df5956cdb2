//! Where, behind a given topic, the next one may stand that matches a filter.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Where to look next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// At the topic that follows.
    Successor,
    /// At the first topic that is not below the target (which lies behind the given topic).
    Target,
    /// Nowhere: no topic behind the given one matches.
    Nothing,
}

/// The target that no matching topic lies below.
pub(super) fn to_first(filter: &[u8], target: &mut Vec<u8>) {
    target.clear();
    let mut levels = filter.split(is_separator);
    match levels.next() {
        None | Some(b"+" | b"#") => {}
        Some(first) => push_literals(target, first, levels),
    }
}

/// Whether the filter matches a topic, and where to look behind it. The topic need not exist.
pub(super) fn behind(filter: &[u8], topic: &[u8], target: &mut Vec<u8>) -> (bool, Next) {
    //= mqtt5 4.7.2-1
    //= mqtt311 4.7.2-1
    if topic.starts_with(b"$") && matches!(filter, [b'+' | b'#', ..]) {
        target.clear();
        target.push(b'$' + 1);
        return (false, Next::Target);
    }
    // Where the topic's level ends that stands for the last `+` so far: that level can be exchanged.
    let mut exchangeable = None;
    let mut start = 0;
    let mut levels = filter.split(is_separator);
    while let Some(level) = levels.next() {
        if level == b"#" {
            return (true, Next::Successor);
        }
        // Behind the last level the offset lies behind the end; at the end there is one more, empty, level.
        let Some(rest) = topic.get(start..) else {
            target.clear();
            target.extend_from_slice(topic);
            target.push(b'/');
            if level != b"+" {
                push_literals(target, level, levels);
            }
            return (false, Next::Target);
        };
        let own = rest.split(is_separator).next().unwrap_or_default();
        let end = start + own.len();
        if level == b"+" {
            exchangeable = Some(end);
        } else {
            match own.cmp(level) {
                Ordering::Equal => {}
                Ordering::Less => {
                    target.clear();
                    target.extend_from_slice(topic.get(..start).unwrap_or_default());
                    push_literals(target, level, levels);
                    return (false, Next::Target);
                }
                Ordering::Greater => return (false, beyond(topic, exchangeable, target)),
            }
        }
        start = end + 1;
    }
    (start > topic.len(), beyond(topic, exchangeable, target))
}

/// Behind everything that begins with the topic's levels up to `end`: nothing more matches there.
fn beyond(topic: &[u8], end: Option<usize>, target: &mut Vec<u8>) -> Next {
    let Some(levels) = end.and_then(|end| topic.get(..end)) else {
        return Next::Nothing;
    };
    target.clear();
    target.extend_from_slice(levels);
    // In no topic, above the `/` of what lies below these levels, and not above any level that begins like the
    // last of them.
    target.push(0);
    Next::Target
}

/// Appends a literal level and what must follow it: the topics that match are not below that.
fn push_literals<'a>(
    target: &mut Vec<u8>,
    level: &[u8],
    following: impl Iterator<Item = &'a [u8]>,
) {
    target.extend_from_slice(level);
    for level in following {
        match level {
            b"#" => return,
            b"+" => return target.push(b'/'),
            _ => {
                target.push(b'/');
                target.extend_from_slice(level);
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what split() asks for")]
const fn is_separator(byte: &u8) -> bool {
    *byte == b'/'
}
