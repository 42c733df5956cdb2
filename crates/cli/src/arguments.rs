//! What may be typed behind `martlet`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::options::Shell;
use crate::store;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "martlet",
    version,
    about = "An MQTT broker (3.1, 3.1.1 and 5.0) in one binary.",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker (also what `martlet` alone does).
    #[command(after_help = BROKER_EXAMPLES)]
    Broker(Serve),
    /// Read a configuration file and say what is wrong with it, or that it is right.
    CheckConfig {
        /// The TOML file.
        file: PathBuf,
    },
    /// Publish messages.
    #[command(disable_help_flag = true)]
    Pub {
        /// What `martlet pub --help` lists.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Subscribe and print what arrives.
    #[command(disable_help_flag = true)]
    Sub {
        /// What `martlet sub --help` lists.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Send a request and print the response.
    #[command(disable_help_flag = true)]
    Rr {
        /// What `martlet rr --help` lists.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print one retained value and end.
    #[command(disable_help_flag = true)]
    Get {
        /// What `martlet get --help` lists.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Connect, and say stage by stage what works and what to mend.
    #[command(disable_help_flag = true)]
    Conn {
        /// What `martlet conn --help` lists.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Keep a file of names and password hashes, in mosquitto's format.
    #[command(disable_help_flag = true)]
    Passwd {
        /// File, user and options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Look at what a broker keeps in its directory, print it, put it right, copy it.
    #[command(after_help = store::after_help())]
    Store {
        /// What to do.
        #[command(subcommand)]
        tool: store::Tool,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page.
    Man,
    /// Run the conformance suite against any broker.
    #[command(disable_help_flag = true)]
    Conformance {
        /// What the suite takes: HOST:PORT and options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Put any broker under load and count what becomes of the messages.
    #[command(disable_help_flag = true)]
    Bench {
        /// A scenario and options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// How to run the broker. Flags are stronger than the environment, which is stronger than the file.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    /// Listen here, and only here; may be given several times. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<String>,

    /// Number of shards, 1 to 64; by default one per core.
    #[arg(long, value_name = "COUNT")]
    pub(crate) shards: Option<u64>,

    /// The TOML file to read; without it, no file is read.
    #[arg(
        long,
        value_name = "FILE",
        env = "MARTLET_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,

    /// The directory for what has to survive; by default a `martlet` folder under the user's state directory
    /// (`$XDG_STATE_HOME`, or `~/.local/state`). [env: `MARTLET_DATA_DIR`]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// What survives: a loss of power (fsync, the default), the death of the process (os), or nothing (memory).
    #[arg(long, value_name = "MODE")]
    pub(crate) durability: Option<String>,

    /// Let everybody in, at addresses that other machines can reach, too.
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
}

const EXAMPLES: &str = "\
Examples:
  martlet                                         listen on 127.0.0.1:1883
  martlet broker --listen 127.0.0.1:1884 --shards 2
  martlet broker --listen 0.0.0.0:1883 --allow-anonymous
                                                  let the whole network in, without passwords
  martlet broker --config martlet.toml            as a file says
  martlet check-config martlet.toml               is the file right?
  martlet store backup /backup/monday             copy what the broker keeps, while it runs
  martlet conformance 127.0.0.1:1883              does a broker keep to the standard?

Environment (stronger than the file, weaker than flags):
  MARTLET_CONFIG=FILE, MARTLET_LISTEN=ADDRESS:PORT[,...], MARTLET_ALLOW_ANONYMOUS=true,
  MARTLET_DATA_DIR=DIR, MARTLET_STORAGE_DURABILITY=fsync|os|memory, MARTLET_SHARDS=COUNT,
  MARTLET_LOG_FORMAT=human|json, and so on for every setting of the file;
  RUST_LOG=info, SOCKET_ADDR=ADDRESS:PORT

Exit codes:
  0  stopped by SIGINT or SIGTERM, or done
  1  it could not be done: a port is taken, a conformance case failed
  2  the configuration or the command line is wrong; nothing was started";

const BROKER_EXAMPLES: &str = "\
Examples:
  martlet broker
  martlet broker --listen 127.0.0.1:1883 --listen [::1]:1883
  martlet broker --config martlet.toml --shards 4";
