//! `martlet check-config FILE`.

use std::fs;
use std::io::Write;
use std::path::Path;

use martlet_broker::config::Sources;

use crate::exit::Exit;
use crate::logging;

/// Says that a file is right, or everything that is wrong with it.
pub(crate) fn check(file: &Path, out: &mut dyn Write) -> Result<(), Exit> {
    let mut sources = Sources::new();
    read_into(&mut sources, file)?;
    let config = sources.check().map_err(Exit::configuration)?;
    logging::check_filter(config.log()).map_err(Exit::configuration)?;
    let listeners = config.listeners();
    writeln!(out, "{}: right", file.display()).map_err(Exit::failed)?;
    for listener in listeners {
        writeln!(
            out,
            "  would listen on {} (tcp, {})",
            listener.address(),
            listener.access()
        )
        .map_err(Exit::failed)?;
    }
    Ok(())
}

/// Reads a file into the sources; a file that cannot be read is a wrong configuration.
pub(crate) fn read_into(sources: &mut Sources, file: &Path) -> Result<(), Exit> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Exit::configuration(format!("cannot read {name}: {error}")))?;
    sources.file(&name, &text);
    Ok(())
}
