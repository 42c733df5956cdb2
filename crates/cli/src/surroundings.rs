//! The real environment, files and terminal.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use crate::options::Surroundings;

/// What is really there.
#[derive(Debug)]
pub(crate) struct Real;

impl Surroundings for Real {
    fn variable(&self, name: &str) -> Option<OsString> {
        env::var_os(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn ask_password(&self) -> io::Result<Vec<u8>> {
        rpassword::prompt_password("Password: ").map(String::into_bytes)
    }
}
