//! Completions for bash, zsh, fish and PowerShell, made from the same list of commands and options.

use std::fmt::Write as _;

use super::catalogue::{Command, Documented, commands};
use super::table::Offer;

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// The script that teaches a shell our command line.
pub(crate) fn completions(shell: Shell) -> String {
    let commands = commands();
    match shell {
        Shell::Bash => bash(&commands),
        Shell::Zsh => zsh(&commands),
        Shell::Fish => fish(&commands),
        Shell::Powershell => powershell(&commands),
    }
}

fn names(command: &Command) -> String {
    let names: Vec<&str> = command
        .options
        .iter()
        .flat_map(|option| &option.names)
        .map(String::as_str)
        .collect();
    names.join(" ")
}

fn subcommands(commands: &[Command]) -> String {
    let names: Vec<&str> = commands
        .iter()
        .map(|command| command.name.as_str())
        .collect();
    names.join(" ")
}

fn bash(commands: &[Command]) -> String {
    let mut text = String::from(
        "# Completions of martlet for bash: source this, or put it into /etc/bash_completion.d\n\
         _martlet() {\n  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words='' files=''\n  \
         if ((COMP_CWORD == 1)); then\n",
    );
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "    words='{} --help --version'",
        subcommands(commands)
    );
    text.push_str("  else case ${COMP_WORDS[1]} in\n");
    for command in commands {
        let _ = write!(text, "    {})\n      case $before in\n", command.name);
        for option in command
            .options
            .iter()
            .filter(|option| !option.value.is_empty())
        {
            let action = match option.offer {
                Offer::Files => "files=1".to_owned(),
                Offer::Words(words) | Offer::WordsThenFiles(words) => {
                    format!("words='{}'", words.join(" "))
                }
                Offer::Nothing => "return".to_owned(),
            };
            let _ = writeln!(text, "        {}) {action} ;;", option.names.join("|"));
        }
        let (words, files) = match command.words {
            Offer::Files => (String::new(), " files=1"),
            Offer::Words(words) => (format!(" {}", words.join(" ")), ""),
            Offer::WordsThenFiles(words) => (format!(" {}", words.join(" ")), " files=1"),
            Offer::Nothing => (String::new(), ""),
        };
        let _ = write!(
            text,
            "        *) words='{}{words}'{files} ;;\n      esac ;;\n",
            names(command)
        );
    }
    text.push_str(
        "  esac\n  fi\n  local IFS=$' \\t\\n'\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n  \
         if [[ $files ]]; then local IFS=$'\\n'; COMPREPLY+=($(compgen -f -- \"$word\")); fi\n}\n\
         complete -o filenames -F _martlet martlet\n",
    );
    text
}

fn zsh(commands: &[Command]) -> String {
    let mut text = String::from(
        "#compdef martlet\n# Completions of martlet for zsh: put this into $fpath as _martlet\n",
    );
    text.push_str("_martlet() {\n  local -a subcommands\n  subcommands=(\n");
    for command in commands {
        let _ = writeln!(
            text,
            "    '{}:{}'",
            command.name,
            zsh_quoted(&command.about)
        );
    }
    text.push_str(
        "  )\n  if ((CURRENT == 2)); then\n    _describe command subcommands\n    return\n  fi\n",
    );
    text.push_str(
        "  local subcommand=$words[2]\n  shift words\n  ((CURRENT--))\n  case $subcommand in\n",
    );
    for command in commands {
        let _ = write!(text, "    {})\n      _arguments", command.name);
        for option in &command.options {
            for name in &option.names {
                let _ = write!(
                    text,
                    " \\\n        '*{name}[{}]{}'",
                    zsh_quoted(&option.help),
                    zsh_action(option)
                );
            }
        }
        match command.words {
            Offer::Files => text.push_str(" \\\n        '*:file:_files'"),
            Offer::Words(words) => {
                let _ = write!(text, " \\\n        '*:word:({})'", words.join(" "));
            }
            Offer::WordsThenFiles(words) => {
                let words = words.join(" ");
                let _ = write!(
                    text,
                    " \\\n        '1:word:({words})' \\\n        '*:file:_files'"
                );
            }
            Offer::Nothing => {}
        }
        text.push_str(" ;;\n");
    }
    text.push_str("  esac\n}\n_martlet \"$@\"\n");
    text
}

fn zsh_quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace(':', "\\:")
}

fn zsh_action(option: &Documented) -> String {
    match option.offer {
        _ if option.value.is_empty() => String::new(),
        Offer::Files => ":file:_files".to_owned(),
        Offer::Words(words) | Offer::WordsThenFiles(words) => {
            format!(":value:({})", words.join(" "))
        }
        Offer::Nothing => format!(":{}: ", option.value.replace(['[', ']', ':'], "")),
    }
}

fn fish(commands: &[Command]) -> String {
    let mut text = String::from(
        "# Completions of martlet for fish: put this into ~/.config/fish/completions/martlet.fish\n\
         complete -c martlet -f\n",
    );
    for command in commands {
        let _ = writeln!(
            text,
            "complete -c martlet -n __fish_use_subcommand -a {} -d '{}'",
            command.name,
            fish_quoted(&command.about)
        );
        let condition = format!("-n '__fish_seen_subcommand_from {}'", command.name);
        for option in &command.options {
            let _ = write!(text, "complete -c martlet {condition}");
            if let Some(short) = option.short() {
                let _ = write!(text, " -s {short}");
            }
            for long in option.long() {
                let _ = write!(text, " -l {long}");
            }
            match option.offer {
                _ if option.value.is_empty() => {}
                Offer::Files => text.push_str(" -r -F"),
                Offer::Words(words) | Offer::WordsThenFiles(words) => {
                    let _ = write!(text, " -x -a '{}'", words.join(" "));
                }
                Offer::Nothing => text.push_str(" -x"),
            }
            let _ = writeln!(text, " -d '{}'", fish_quoted(&option.help));
        }
        match command.words {
            Offer::Files => {
                let _ = writeln!(text, "complete -c martlet {condition} -F");
            }
            Offer::Words(words) | Offer::WordsThenFiles(words) => {
                let files = match command.words {
                    Offer::WordsThenFiles(_) => " -F",
                    Offer::Words(_) | Offer::Files | Offer::Nothing => "",
                };
                let _ = writeln!(
                    text,
                    "complete -c martlet {condition}{files} -a '{}'",
                    words.join(" ")
                );
            }
            Offer::Nothing => {}
        }
    }
    text
}

fn fish_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

fn powershell(commands: &[Command]) -> String {
    let mut text = String::from(
        "# Completions of martlet for PowerShell: add this to $PROFILE\n\
         Register-ArgumentCompleter -Native -CommandName martlet -ScriptBlock {\n  \
         param($word, $ast, $position)\n  $first = if ($ast.CommandElements.Count -gt 1) { \
         $ast.CommandElements[1].ToString() } else { '' }\n  $list = switch -CaseSensitive ($first) {\n",
    );
    for command in commands {
        let _ = writeln!(text, "    '{}' {{", command.name);
        for option in &command.options {
            for name in &option.names {
                let _ = writeln!(
                    text,
                    "      ,@('{name}', '{}')",
                    option.help.replace('\'', "''")
                );
            }
        }
        if let Offer::Words(words) | Offer::WordsThenFiles(words) = command.words {
            for word in words {
                let _ = writeln!(text, "      ,@('{word}', '{word}')");
            }
        }
        text.push_str("    }\n");
    }
    text.push_str("    default {\n");
    for command in commands {
        let _ = writeln!(
            text,
            "      ,@('{}', '{}')",
            command.name,
            command.about.replace('\'', "''")
        );
    }
    text.push_str(
        "    }\n  }\n  $list | Where-Object { $_[0].StartsWith($word, 'Ordinal') } | ForEach-Object {\n    \
         [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $_[1])\n  }\n}\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::{Shell, completions};
    use crate::options::table::specs;
    use crate::programs::Program;

    #[test]
    fn every_shell_learns_every_option() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Powershell] {
            let text = completions(shell);
            for program in Program::ALL {
                assert!(
                    text.contains(program.name()),
                    "{shell:?}: {}",
                    program.name()
                );
            }
            for name in specs().flat_map(super::super::table::Spec::all_names) {
                let wanted = match (shell, name.strip_prefix("--")) {
                    (Shell::Fish, Some(long)) => format!(" -l {long}"),
                    (Shell::Fish, None) => format!(" -s {}", name.trim_start_matches('-')),
                    _ => name.to_owned(),
                };
                assert!(text.contains(&wanted), "{shell:?}: {name}");
            }
            for other in ["broker", "check-config", "--allow-anonymous", "passwd"] {
                assert!(
                    text.contains(other.trim_start_matches("--")),
                    "{shell:?}: {other}"
                );
            }
        }
    }
}
