//! Tests of the whole codec, by packet and by property.
