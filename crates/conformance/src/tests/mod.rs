//! Tests of the suite itself: that it can fail, and that its tables agree with its citations.

mod liars;
mod stub;
mod tables;
