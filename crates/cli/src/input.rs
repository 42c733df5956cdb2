//! Where payloads come from: files and standard input.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, Read};
use std::thread;

use tokio::sync::mpsc::{Receiver, channel};

/// Why a payload could not be read.
#[derive(Debug)]
pub(crate) enum InputError {
    Open(io::Error),
    Read(io::Error),
    Empty,
    TooLong,
}

/// The content of a file.
pub(crate) fn file(name: &OsStr) -> Result<Vec<u8>, InputError> {
    let file = File::open(name).map_err(InputError::Open)?;
    all(file)
}

/// All of standard input.
pub(crate) fn stdin() -> Result<Vec<u8>, InputError> {
    all(io::stdin().lock())
}

fn all(reader: impl Read) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    // One more than fits tells a payload that is too long from one that just fits.
    let most = u64::try_from(PAYLOAD_MAX).unwrap_or(u64::MAX);
    reader
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(InputError::Read)?;
    if bytes.len() > PAYLOAD_MAX {
        return Err(InputError::TooLong);
    }
    Ok(bytes)
}

/// The lines of standard input, read by a thread of their own; few are read before they are wanted.
pub(crate) fn lines() -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = channel(LINES_AHEAD);
    thread::Builder::new()
        .name("martlet-input".to_owned())
        .spawn(move || {
            let mut input = io::stdin().lock();
            loop {
                let mut line = Vec::new();
                let most = u64::try_from(PAYLOAD_MAX).unwrap_or(u64::MAX);
                let read = input.by_ref().take(most + 1).read_until(b'\n', &mut line);
                let line = match read {
                    Ok(0) => return,
                    Ok(_) => {
                        if line.last() == Some(&b'\n') {
                            line.pop();
                        }
                        Ok(line)
                    }
                    Err(error) => Err(error),
                };
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// The longest payload that a packet can have.
pub(crate) const PAYLOAD_MAX: usize = 268_435_455;
/// Enough to keep the connection busy.
const LINES_AHEAD: usize = 64;
