//! Tests of the broker with clients that nobody here wrote.
