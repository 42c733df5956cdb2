//! The command line of `pub`, `sub`, `rr`, `get` and `conn`, here and under mosquitto's names.
//!
//! Map: `table` is THE table of options; `parse` goes through the words and the files of options, `apply` does what
//! each option means, `check` looks at all of them together; `numbers` and `url` read values; `problem` says what is
//! wrong, in our words and in mosquitto's. `help`, `completions` and `man` print the table.

mod apply;
mod catalogue;
mod check;
mod completions;
mod help;
mod man;
mod numbers;
mod parse;
mod problem;
mod property;
pub(crate) mod table;
mod url;

pub(crate) use self::completions::{Shell, completions};
pub(crate) use self::help::help;
pub(crate) use self::man::man;
pub(crate) use self::parse::{Asked, Surroundings, parse};
pub(crate) use self::problem::Problem;
