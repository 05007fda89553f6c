//! The scripts with which shells complete the command line.

use std::process::Command;

use crate::program::{run, text};

/// Has bash take the script and complete `line`, whose last word is the one to complete, as it does on the key Tab.
const COMPLETE: &str = r#"
set -eu
source "$1"
function=$(complete -p nexus | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
read -ra COMP_WORDS <<< "$2"
[[ "$2" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE=$2 COMP_POINT=${#2}
"$function" nexus "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_commands_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let script = run(dir.path(), &["completions", "bash"]);
    assert!(script.status.success(), "{script:?}");
    std::fs::write(dir.path().join("nexus.bash"), script.stdout).unwrap();
    for (line, proposals) in [
        ("nexus doc", &["doctor"][..]),
        ("nexus apps de", &["delete", "deactivate"]),
        ("nexus events dead-letters re", &["redrive"]),
        ("nexus doctor --li", &["--live"]),
        ("nexus completions ba", &["bash"]),
        ("nexus call --ur", &["--url"]),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile", "-c", COMPLETE, "bash", "nexus.bash", line]).current_dir(dir.path());
        let said = bash.output().expect("the test needs the program `bash`");
        assert!(said.status.success(), "{line}: {said:?}");
        let said = text(&said.stdout);
        let mut said: Vec<&str> = said.lines().collect();
        let mut wanted = proposals.to_vec();
        said.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(said, wanted, "{line}");
    }
}

#[test]
fn there_is_a_script_for_each_shell_and_help_says_where_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef nexus"), ("fish", "complete -c nexus")] {
        let script = run(dir.path(), &["completions", shell]);
        assert!(text(&script.stdout).contains(mark), "{shell}: {script:?}");
    }
    let help = text(&run(dir.path(), &["completions", "--help"]).stdout);
    for line in [
        "nexus completions bash > ~/.local/share/bash-completion/completions/nexus",
        "nexus completions zsh  > \"${fpath[1]}/_nexus\"",
        "nexus completions fish > ~/.config/fish/completions/nexus.fish",
    ] {
        assert!(help.contains(line), "{help}");
    }
    assert_eq!(run(dir.path(), &["completions", "tcsh"]).status.code(), Some(2));
}
