//! From words to settings: the environment first, then files of options, then the command line.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most options are applied elsewhere"
)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::apply::apply;
use super::check::check;
use super::problem::Problem;
use super::property;
use super::table::{Opt, Spec, find};
use super::url::looks_like_url;
use crate::programs::{Dialect, Program};
use crate::settings::{Secret, Settings};

/// What the words ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Version,
    Run(Box<Settings>),
}

/// What is around the program: the environment, files, and a person who can be asked.
pub(crate) trait Surroundings {
    fn variable(&self, name: &str) -> Option<OsString>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn ask_password(&self) -> io::Result<Vec<u8>>;
}

/// Reads the words behind the program's name.
pub(crate) fn parse(
    program: Program,
    dialect: Dialect,
    words: &[OsString],
    surroundings: &dyn Surroundings,
) -> Result<Asked, Problem> {
    let mut reader = Reader {
        settings: Settings::new(program, dialect),
        surroundings,
        asked: None,
    };
    match dialect {
        Dialect::Mosquitto => reader.mosquittos_file()?,
        Dialect::Martlet => {
            reader.environment()?;
            reader.files(words)?;
        }
    }
    // 'a help' behind a wrong option is not reached: the wrong option is what the person has to know.
    reader.words(words)?;
    if let Some(asked) = reader.asked {
        return Ok(asked);
    }
    reader.passwords()?;
    check(&mut reader.settings)?;
    Ok(Asked::Run(Box::new(reader.settings)))
}

struct Reader<'a> {
    settings: Settings,
    surroundings: &'a dyn Surroundings,
    asked: Option<Asked>,
}

impl Reader<'_> {
    fn words(&mut self, words: &[OsString]) -> Result<(), Problem> {
        let mut rest = words;
        while let Some((word, behind)) = rest.split_first() {
            if self.asked.is_some() {
                return Ok(());
            }
            rest = self.word(word, behind)?;
        }
        Ok(())
    }

    /// Takes one option with its values; returns what is left.
    fn word<'w>(
        &mut self,
        word: &OsStr,
        behind: &'w [OsString],
    ) -> Result<&'w [OsString], Problem> {
        let dialect = self.settings.dialect;
        let program = self.settings.program;
        let text = word.to_string_lossy();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) if dialect == Dialect::Martlet && name.starts_with("--") => {
                (name, Some(OsString::from(value)))
            }
            _ => (text.as_ref(), None),
        };
        let Some(spec) = find(name, program, dialect) else {
            return self.bare(word).map(|()| behind);
        };
        match spec.opt {
            Opt::Help => self.asked = Some(Asked::Help),
            Opt::ProgramVersion => self.asked = Some(Asked::Version),
            Opt::Property => {
                let used = property::read(behind, &mut self.settings)?;
                return Ok(behind.get(used..).unwrap_or_default());
            }
            _ if !spec.takes_value() => {
                if inline.is_some() {
                    return Err(Problem::ValueOfSwitch(spec));
                }
                apply(spec, OsStr::new(""), &mut self.settings)?;
            }
            _ => {
                if let Some(value) = inline {
                    self.value(spec, &value)?;
                    return Ok(behind);
                }
                let (value, behind) = behind.split_first().ok_or(Problem::NoValue(spec))?;
                self.value(spec, value)?;
                return Ok(behind);
            }
        }
        Ok(behind)
    }

    fn value(&mut self, spec: &'static Spec, value: &OsStr) -> Result<(), Problem> {
        match spec.opt {
            // Read before, so that the command line is stronger.
            Opt::OptionsFile | Opt::Profile => Ok(()),
            Opt::PasswordFile => {
                let bytes = self.read(Path::new(value))?;
                let line = bytes
                    .split(|byte| *byte == b'\n')
                    .next()
                    .unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                self.settings.session.password = Some(Secret(line.to_vec()));
                Ok(())
            }
            Opt::PasswordEnv => {
                let name = value.to_string_lossy();
                let password = self.surroundings.variable(&name);
                let password = password.ok_or_else(|| Problem::Value {
                    option: spec.name(),
                    given: name.into_owned(),
                    wants: "an environment variable that is set",
                })?;
                self.settings.session.password = Some(Secret(password.into_encoded_bytes()));
                Ok(())
            }
            _ => apply(spec, value, &mut self.settings),
        }
    }

    /// A word that is no option: a URL, the topic of get, the host of conn.
    fn bare(&mut self, word: &OsStr) -> Result<(), Problem> {
        let text = word.to_string_lossy();
        let dialect = self.settings.dialect;
        if dialect == Dialect::Mosquitto || text.starts_with('-') && text.len() > 1 {
            return Err(Problem::UnknownOption(text.into_owned()));
        }
        let program = self.settings.program;
        let name = match program {
            _ if looks_like_url(&text) => "-L",
            Program::Get => "-t",
            Program::Conn => return self.place(&text),
            Program::Pub | Program::Sub | Program::Rr => {
                return Err(Problem::Unexpected(text.into_owned()));
            }
        };
        match find(name, program, dialect) {
            Some(spec) => apply(spec, word, &mut self.settings),
            None => Err(Problem::Unexpected(text.into_owned())),
        }
    }

    /// HOST or HOST:PORT
    fn place(&mut self, text: &str) -> Result<(), Problem> {
        let url = OsString::from(format!("mqtt://{text}"));
        match find("-L", self.settings.program, self.settings.dialect) {
            Some(spec) => apply(spec, &url, &mut self.settings),
            None => Err(Problem::Unexpected(text.to_owned())),
        }
    }

    /// `MQTT_*`: the URL first, so that the others are stronger.
    fn environment(&mut self) -> Result<(), Problem> {
        for (variable, option) in VARIABLES {
            let Some(value) = self.surroundings.variable(variable) else {
                continue;
            };
            if value.is_empty() {
                continue; // how shells say 'not set'
            }
            if let Some(spec) = find(option, self.settings.program, Dialect::Martlet) {
                self.value(spec, &value)?;
            }
        }
        Ok(())
    }

    /// The files that -o and --profile name.
    fn files(&mut self, words: &[OsString]) -> Result<(), Problem> {
        let program = self.settings.program;
        let mut paths = Vec::new();
        if let Some(name) = self.surroundings.variable("MQTT_PROFILE")
            && !name.is_empty()
        {
            paths.push(self.profile(&name)?);
        }
        let mut rest = words;
        while let Some((word, behind)) = rest.split_first() {
            rest = behind;
            let text = word.to_string_lossy();
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text.as_ref(), None),
            };
            let Some(spec) =
                find(name, program, Dialect::Martlet).filter(|spec| spec.takes_value())
            else {
                continue;
            };
            let value = match inline {
                Some(value) => Some(value),
                None => behind.first().cloned().inspect(|_| {
                    rest = behind.get(1..).unwrap_or_default();
                }),
            };
            match (spec.opt, value) {
                (Opt::OptionsFile, Some(value)) => paths.push(value.into()),
                (Opt::Profile, Some(value)) => paths.push(self.profile(&value)?),
                _ => {}
            }
        }
        for path in paths {
            let text = self.read(&path)?;
            self.options_file(&text)?;
        }
        Ok(())
    }

    fn profile(&self, name: &OsStr) -> Result<PathBuf, Problem> {
        let folder = self.config_folder().ok_or(Problem::Missing {
            what: "--profile: there is no configuration folder",
            remedy: "set HOME or XDG_CONFIG_HOME, or use -o FILE",
        })?;
        Ok(folder.join("martlet").join("profiles").join(name))
    }

    fn config_folder(&self) -> Option<PathBuf> {
        let variable = |name| self.surroundings.variable(name);
        variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")))
    }

    /// The file that mosquitto reads without being told.
    fn mosquittos_file(&mut self) -> Result<(), Problem> {
        let name = format!("mosquitto_{}", self.settings.program.name());
        let Some(folder) = self.config_folder() else {
            return Ok(());
        };
        match self.surroundings.read(&folder.join(name)) {
            Ok(text) => self.options_file(&text),
            // It need not be there, and mosquitto does not say why it cannot be read.
            Err(_) => Ok(()),
        }
    }

    /// One option on each line, its value behind a space.
    fn options_file(&mut self, text: &[u8]) -> Result<(), Problem> {
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = String::from_utf8_lossy(line);
            let line = line.trim_start_matches(' ');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<OsString> = match line.split_once(' ') {
                None => vec![line.into()],
                Some((name @ ("-D" | "--property"), rest))
                    if self.settings.dialect == Dialect::Martlet =>
                {
                    let pieces = if rest.contains("user-property") { 4 } else { 3 };
                    let values = rest.splitn(pieces, ' ').map(OsString::from);
                    std::iter::once(name.into()).chain(values).collect()
                }
                Some((name, value)) => vec![name.into(), value.trim_start_matches(' ').into()],
            };
            self.words(&words)?;
        }
        Ok(())
    }

    /// `-P -` asks.
    fn passwords(&mut self) -> Result<(), Problem> {
        let session = &mut self.settings.session;
        let asked_for = session
            .password
            .as_ref()
            .is_some_and(|password| password.0 == b"-");
        if self.settings.dialect == Dialect::Martlet && asked_for {
            let password = self
                .surroundings
                .ask_password()
                .map_err(|error| Problem::File {
                    name: "the password".to_owned(),
                    why: error.to_string(),
                })?;
            session.password = Some(Secret(password));
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Problem> {
        self.surroundings.read(path).map_err(|error| Problem::File {
            name: path.display().to_string(),
            why: error.to_string(),
        })
    }
}

/// The environment variables that count as options.
pub(crate) const VARIABLES: [(&str, &str); 8] = [
    ("MQTT_URL", "-L"),
    ("MQTT_HOST", "-h"),
    ("MQTT_PORT", "-p"),
    ("MQTT_USERNAME", "-u"),
    ("MQTT_PASSWORD", "-P"),
    ("MQTT_PASSWORD_FILE", "--password-file"),
    ("MQTT_CLIENT_ID", "-i"),
    ("MQTT_VERSION", "-V"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::io;
    use std::path::{Path, PathBuf};

    use martlet_codec::QoS;

    use super::{Asked, Surroundings, parse};
    use crate::options::Problem;
    use crate::programs::Dialect::{self, Martlet, Mosquitto};
    use crate::programs::Program::{self, Conn, Get, Pub, Sub};
    use crate::settings::Settings;

    #[derive(Default)]
    struct Made {
        variables: BTreeMap<&'static str, &'static str>,
        files: BTreeMap<PathBuf, &'static str>,
    }

    impl Surroundings for Made {
        fn variable(&self, name: &str) -> Option<OsString> {
            self.variables.get(name).map(OsString::from)
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let text = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(text.as_bytes().to_vec())
        }

        fn ask_password(&self) -> io::Result<Vec<u8>> {
            Ok(b"typed".to_vec())
        }
    }

    fn ask(program: Program, dialect: Dialect, line: &str, made: &Made) -> Result<Asked, Problem> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(program, dialect, &words, made)
    }

    fn settings(program: Program, line: &str, made: &Made) -> Box<Settings> {
        match ask(program, Martlet, line, made) {
            Ok(Asked::Run(settings)) => settings,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_stronger_than_files_and_those_than_the_environment() {
        let mut made = Made::default();
        made.variables.insert("MQTT_HOST", "from-environment");
        made.variables.insert("MQTT_PORT", "1");
        made.variables.insert("MQTT_USERNAME", "jo");
        made.variables.insert("MQTT_CLIENT_ID", "");
        made.files.insert(
            "mine".into(),
            "-p 2\r\n# comment\n\n--host   from-file\n-v\n",
        );
        let asked = settings(Sub, "-t a -o mine --port=3", &made);
        assert_eq!((asked.host(), asked.port()), ("from-file", 3));
        assert_eq!(asked.session.user.as_deref(), Some("jo"));
        assert_eq!(asked.session.id, None);
        assert!(asked.output.verbose);
        assert_eq!(settings(Sub, "-t a", &made).port(), 1);
    }

    #[test]
    fn profiles_are_in_the_configuration_folder() {
        let mut made = Made::default();
        made.variables.insert("HOME", "/h/jo");
        made.files
            .insert("/h/jo/.config/martlet/profiles/home".into(), "-h there\n");
        assert_eq!(settings(Conn, "--profile home", &made).host(), "there");
        assert_eq!(settings(Conn, "--profile=home here", &made).host(), "here");
        made.variables.insert("MQTT_PROFILE", "home");
        assert_eq!(settings(Get, "a", &made).host(), "there");
        let problem = ask(Conn, Martlet, "--profile nosuch", &made);
        assert!(matches!(problem, Err(Problem::File { .. })), "{problem:?}");
    }

    #[test]
    fn mosquittos_file_is_read_under_its_name_only() {
        let mut made = Made::default();
        made.variables.insert("XDG_CONFIG_HOME", "/config");
        made.files.insert(
            "/config/mosquitto_sub".into(),
            "-t from/file with spaces\n-q 2\n",
        );
        let Ok(Asked::Run(asked)) = ask(Sub, Mosquitto, "-C 1", &made) else {
            panic!("it has a filter");
        };
        assert_eq!(
            asked.receiving.subscriptions[0].filter,
            "from/file with spaces"
        );
        assert_eq!(asked.sending.qos, QoS::ExactlyOnce);
        assert!(matches!(
            ask(Sub, Martlet, "-C 1", &made),
            Err(Problem::NoFilter)
        ));
    }

    #[test]
    fn a_qos_belongs_to_the_filters_before_it_that_have_none() {
        let made = Made::default();
        let levels = |line: &str| -> Vec<u8> {
            let asked = settings(Sub, line, &made);
            let default = asked.sending.qos;
            let filters = asked.receiving.subscriptions.iter();
            filters
                .map(|one| one.qos.unwrap_or(default) as u8)
                .collect()
        };
        assert_eq!(levels("-t a -q 1 -t b -q 0 -t c"), [1, 0, 0]);
        assert_eq!(levels("-t a -t b -q 2"), [2, 2]);
        assert_eq!(levels("-q 1 -t a -t b"), [1, 1]);
    }

    #[test]
    fn words_without_an_option_are_urls_topics_or_hosts() {
        let made = Made::default();
        let asked = settings(Get, "mqtt://there:7/a b/#", &made);
        assert_eq!(
            (
                asked.host(),
                asked.port(),
                asked.receiving.subscriptions.len()
            ),
            ("there", 7, 2)
        );
        assert_eq!(settings(Conn, "there:8", &made).port(), 8);
        assert_eq!(
            settings(Pub, "mqtt://h/t -n", &made)
                .sending
                .topic
                .as_deref(),
            Some("t")
        );
        assert!(matches!(
            ask(Pub, Martlet, "word -n", &made),
            Err(Problem::Unexpected(_))
        ));
    }

    #[test]
    fn passwords_come_from_where_they_are_said_to_be() {
        let mut made = Made::default();
        made.files
            .insert("secret".into(), "from file\r\nsecond line");
        made.variables.insert("SECRET", "from variable");
        let password = |line: &str| {
            settings(Get, line, &made)
                .session
                .password
                .map(|secret| secret.0)
        };
        assert_eq!(password("a --password-file secret").unwrap(), b"from file");
        assert_eq!(
            password("a --password-env SECRET").unwrap(),
            b"from variable"
        );
        assert_eq!(password("a -P -").unwrap(), b"typed");
        assert_eq!(password("a -P plain").unwrap(), b"plain");
    }

    #[test]
    fn help_and_version_end_the_reading() {
        let made = Made::default();
        assert!(matches!(
            ask(Sub, Martlet, "--help --nonsense", &made),
            Ok(Asked::Help)
        ));
        assert!(matches!(
            ask(Sub, Martlet, "--version", &made),
            Ok(Asked::Version)
        ));
        assert!(matches!(
            ask(Sub, Martlet, "--nonsense --help", &made),
            Err(Problem::UnknownOption(_))
        ));
    }
}
