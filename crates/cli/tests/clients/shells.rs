//! Completions and the man page, in the programs they are for, where those are installed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::broker::{martlet, run, text};

fn completions(shell: &str) -> String {
    let output = run(&mut martlet(&["completions", shell]), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

/// Feeds a program; None: it is not installed.
fn feed(program: &str, words: &[&str], input: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{program}: {}",
        text(&output.stderr)
    );
    Some(text(&output.stdout))
}

#[test]
fn bash_completes_commands_options_and_values() {
    for (line, wanted) in [
        ("martlet su", "sub"),
        ("martlet sub --retained-o", "--retained-only"),
        ("martlet pub -q ", "0 1 2"),
        ("martlet sub --retain-handling n", "new never"),
        ("martlet completions f", "fish"),
        ("martlet pub -t ", ""),
        ("martlet broker --allow", "--allow-anonymous"),
        ("martlet store ver", "verify"),
        ("martlet store backup --data", "--data-dir"),
    ] {
        let mut words: Vec<&str> = line.split(' ').collect();
        let last = words.len() - 1;
        let quoted: Vec<String> = words.drain(..).map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{}\nCOMP_WORDS=({}); COMP_CWORD={last}; _martlet; echo \"${{COMPREPLY[*]}}\"\n",
            completions("bash"),
            quoted.join(" ")
        );
        if let Some(found) = feed("bash", &["--norc"], &script) {
            assert_eq!(found.trim(), wanted, "{line}");
        }
    }
}

#[test]
fn the_other_shells_can_read_their_scripts() {
    feed("zsh", &["-n"], &completions("zsh"));
    feed("fish", &["-n"], &completions("fish"));
    assert!(completions("powershell").contains("Register-ArgumentCompleter"));
}

#[test]
fn the_man_page_is_one() {
    let output = run(&mut martlet(&["man"]), "");
    let page = text(&output.stdout);
    if let Some(shown) = feed("man", &["-l", "-"], &page) {
        assert!(shown.contains("MARTLET(1)"), "{shown}");
    }
    assert!(page.starts_with(".TH MARTLET 1"));
    assert!(page.contains(".B store backup DIR\n"));
    assert!(page.contains(".B 3\ndone, but the store is damaged"));
}
