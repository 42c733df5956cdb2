//! Filters with wildcards, as a tree of levels.
//!
//! ```text
//! (root) --"sensors"--> o --"+"--> o --"temperature"--> o   subscribers of sensors/+/temperature
//!    \                  \--"#"--> o                         subscribers of sensors/#
//!     \--"+"--> o --"status"--> o                           subscribers of +/status
//! ```
//!
//! A node has at most one `+` and one `#` child, named in the node. Its literal children, of which it may have a
//! million, are found through one table for the whole tree, keyed by parent and level: a node costs no allocation
//! unless its name is long. Matching and changing walk with a stack or a loop, never recursively, so a filter of
//! a thousand levels is slow at worst.

use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::SubscriptionOptions;
use super::list::List;
use super::name::Name;
use crate::collections::paged::Paged;

pub(super) struct Trie<S> {
    /// The root first. Unused ones are chained through `parent`.
    nodes: Paged<Node<S>>,
    unused: u32,
    used_count: usize,
    /// The literal children of all nodes.
    children: HashTable<u32>,
    hasher: FixedState,
    /// Kept between calls of `matches`: nodes to look at, each with the offset of the level that follows it.
    stack: Vec<(u32, usize)>,
}

struct Node<S> {
    /// The level that leads here, if it is a literal one.
    name: Name,
    subscribers: List<S>,
    parent: u32,
    literal_children: u32,
    /// The child `+`, or [`NONE`].
    any_level: u32,
    /// The child `#`, or [`NONE`].
    any_rest: u32,
}

impl<S: Copy + Eq + Hash> Trie<S> {
    pub(super) fn new(hasher: FixedState) -> Self {
        let mut trie = Self {
            nodes: Paged::new(),
            unused: NONE,
            used_count: 0,
            children: HashTable::new(),
            hasher,
            stack: Vec::new(),
        };
        trie.clear();
        trie
    }

    /// The node and the subscribers of a filter, whose nodes are made if they are missing. The caller puts one in.
    pub(super) fn insert(&mut self, filter: &str) -> (u32, &mut List<S>) {
        let mut at = ROOT;
        for level in filter.as_bytes().split(|byte| *byte == b'/') {
            at = match self.child(at, level) {
                NONE => self.add_child(at, level),
                child => child,
            };
        }
        (at, &mut self.node_mut(at).subscribers)
    }

    /// The node of a filter that has subscribers.
    pub(super) fn find(&self, filter: &str) -> Option<u32> {
        let mut at = ROOT;
        for level in filter.as_bytes().split(|byte| *byte == b'/') {
            at = self.child(at, level);
            if at == NONE {
                return None;
            }
        }
        (!self.node(at).subscribers.is_empty()).then_some(at)
    }

    /// The subscribers of a node, if there is such a node.
    pub(super) fn subscribers(&self, node: u32) -> Option<&List<S>> {
        self.nodes.get(node as usize).map(|node| &node.subscribers)
    }

    /// Writes the filter of a node into `text`.
    pub(super) fn text(&self, node: u32, text: &mut String) {
        text.clear();
        let mut levels = Vec::new();
        let mut at = node;
        while at != ROOT {
            levels.push(at);
            at = self.node(at).parent;
        }
        for level in levels.into_iter().rev() {
            let Node { name, parent, .. } = self.node(level);
            if *parent != ROOT {
                text.push('/');
            }
            let parent = self.node(*parent);
            if parent.any_level == level {
                text.push('+');
            } else if parent.any_rest == level {
                text.push('#');
            } else {
                // A level is a piece of a text between two separators.
                text.push_str(core::str::from_utf8(name.as_bytes()).unwrap_or_default());
            }
        }
    }

    /// Takes a subscriber out of a node, and the nodes that nobody needs any more.
    pub(super) fn remove(&mut self, node: u32, subscriber: S) -> Option<SubscriptionOptions> {
        let mut at = node;
        let hasher = self.hasher.clone();
        let list = &mut self.nodes.get_mut(at as usize)?.subscribers;
        let removed = list.remove(&hasher, subscriber)?;
        while at != ROOT && self.node(at).is_useless() {
            at = self.remove_child(at);
        }
        if self.used_count == 1 {
            self.clear();
        }
        Some(removed)
    }

    /// Reports the subscribers of every filter that matches.
    pub(super) fn matches(&mut self, topic: &str, found: &mut impl FnMut(S, SubscriptionOptions)) {
        if self.used_count == 1 {
            return;
        }
        let topic = topic.as_bytes();
        let mut stack = core::mem::take(&mut self.stack);
        stack.push((ROOT, 0));
        while let Some((at, start)) = stack.pop() {
            let node = self.node(at);
            //= mqtt5 4.7.2-1
            //= mqtt311 4.7.2-1
            let wildcards = at != ROOT || !topic.starts_with(b"$");
            // Whether or not a level follows: "a/#" also matches "a".
            if wildcards && node.any_rest != NONE {
                self.node(node.any_rest).subscribers.for_each(found);
            }
            // After the last level the offset lies behind the end; at the end there is one more, empty, level.
            let Some(rest) = topic.get(start..) else {
                node.subscribers.for_each(found);
                continue;
            };
            let level = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            let next = start + level.len() + 1;
            if wildcards && node.any_level != NONE {
                stack.push((node.any_level, next));
            }
            if node.literal_children > 0 {
                let child = self.literal_child(at, level);
                if child != NONE {
                    stack.push((child, next));
                }
            }
        }
        self.stack = stack;
    }

    fn child(&self, parent: u32, level: &[u8]) -> u32 {
        match level {
            b"+" => self.node(parent).any_level,
            b"#" => self.node(parent).any_rest,
            _ => self.literal_child(parent, level),
        }
    }

    //= mqtt5 4.7.3-4
    //= mqtt311 4.7.3-4
    fn literal_child(&self, parent: u32, level: &[u8]) -> u32 {
        let is_it = |child: &u32| {
            let child = self.node(*child);
            child.parent == parent && child.name.as_bytes() == level
        };
        let hash = child_hash(&self.hasher, parent, level);
        self.children.find(hash, is_it).copied().unwrap_or(NONE)
    }

    fn add_child(&mut self, parent: u32, level: &[u8]) -> u32 {
        let literal = !matches!(level, b"+" | b"#");
        let name = if literal {
            Name::new(level)
        } else {
            Name::EMPTY
        };
        let child = self.add_node(Node::new(parent, name));
        match level {
            b"+" => self.node_mut(parent).any_level = child,
            b"#" => self.node_mut(parent).any_rest = child,
            _ => {
                self.node_mut(parent).literal_children += 1;
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                let hash = child_hash(hasher, parent, level);
                self.children
                    .insert_unique(hash, child, |child| hash_of(nodes, *child, hasher));
            }
        }
        child
    }

    /// Takes a node without children out of the tree; returns its parent.
    fn remove_child(&mut self, child: u32) -> u32 {
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        let parent = self.node(child).parent;
        if self.node(parent).any_level == child {
            self.node_mut(parent).any_level = NONE;
        } else if self.node(parent).any_rest == child {
            self.node_mut(parent).any_rest = NONE;
        } else {
            let hash = hash_of(nodes, child, hasher);
            if let Ok(entry) = self.children.find_entry(hash, |other| *other == child) {
                entry.remove();
            }
            super::shrink(&mut self.children, |child| hash_of(nodes, *child, hasher));
            self.node_mut(parent).literal_children -= 1;
        }
        let unused = self.unused;
        *self.node_mut(child) = Node::new(unused, Name::EMPTY);
        self.unused = child;
        self.used_count -= 1;
        parent
    }

    fn add_node(&mut self, node: Node<S>) -> u32 {
        self.used_count += 1;
        if self.unused == NONE {
            let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            // The limits on subscriptions lie far below.
            assert!(index < NODES_MAX, "a tree has fewer than 2^31 nodes");
            self.nodes.push(node);
            index
        } else {
            let index = self.unused;
            self.unused = self.node(index).parent;
            *self.node_mut(index) = node;
            index
        }
    }

    /// Back to a bare root, and all memory returned: vectors with holes can only shrink when they are empty.
    fn clear(&mut self) {
        self.nodes = Paged::new();
        self.nodes.push(Node::new(NONE, Name::EMPTY));
        self.unused = NONE;
        self.used_count = 1;
        self.children = HashTable::new();
        self.stack = Vec::new();
    }

    #[expect(clippy::expect_used, reason = "a wrong link must not go unnoticed")]
    fn node(&self, index: u32) -> &Node<S> {
        self.nodes.get(index as usize).expect(LINKED)
    }

    #[expect(clippy::expect_used, reason = "a wrong link must not go unnoticed")]
    fn node_mut(&mut self, index: u32) -> &mut Node<S> {
        self.nodes.get_mut(index as usize).expect(LINKED)
    }
}

impl<S: Copy + Eq + Hash> Node<S> {
    const fn new(parent: u32, name: Name) -> Self {
        Self {
            name,
            subscribers: List::Empty,
            parent,
            literal_children: 0,
            any_level: NONE,
            any_rest: NONE,
        }
    }

    const fn is_useless(&self) -> bool {
        self.subscribers.is_empty()
            && self.literal_children == 0
            && self.any_level == NONE
            && self.any_rest == NONE
    }
}

fn child_hash(hasher: &FixedState, parent: u32, level: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u32(parent);
    hasher.write(level);
    hasher.finish()
}

fn hash_of<S>(nodes: &Paged<Node<S>>, child: u32, hasher: &FixedState) -> u64 {
    nodes.get(child as usize).map_or(0, |node| {
        child_hash(hasher, node.parent, node.name.as_bytes())
    })
}

const ROOT: u32 = 0;
const LINKED: &str = "links lead to nodes only";
/// "No node".
const NONE: u32 = u32::MAX;
/// The upper bit says whether the number of a filter is one of this tree.
const NODES_MAX: u32 = 1 << 31;

#[cfg(test)]
impl<S: Copy + Eq + Hash> Trie<S> {
    pub(super) fn used_nodes(&self) -> usize {
        self.used_count
    }

    pub(super) fn allocated_nodes(&self) -> usize {
        self.nodes.capacity()
    }

    pub(super) fn literal_nodes(&self) -> usize {
        self.children.len()
    }

    pub(super) const NODE_BYTES: usize = size_of::<Node<S>>();
}
