//! `keyclave completions` and `keyclave manual`: written from the command line's own description.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::Shown;

/// A completion script.
pub(crate) fn completions(shell: Shell) -> Shown {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keyclave", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let object = json!({ "shell": shell.to_string(), "script": script });
    Shown::new(script, &object)
}

/// The manual page in roff: the command, then each of its subcommands.
pub(crate) fn manual() -> Result<Shown, Failure> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| Failure::from_error("MANUAL", &error))?;
    sections(&command, &mut page).map_err(|error| Failure::from_error("MANUAL", &error))?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let object = json!({ "roff": page });
    Ok(Shown::new(page, &object))
}

fn sections(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name()).to_uppercase();
        page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        let man = Man::new(subcommand.clone());
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        if subcommand.get_arguments().any(|argument| !argument.is_global_set()) {
            man.render_options_section(page)?;
        }
        sections(subcommand, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;

    #[test]
    fn the_manual_holds_every_command() {
        let page = manual().unwrap().render(Output::Text);
        for name in ["KEYCLAVE OPERATOR INIT", "KEYCLAVE KEY ROTATE", "KEYCLAVE AUDIT VERIFY"] {
            assert!(page.contains(name), "{name}");
        }
    }

    #[test]
    fn there_are_completions_for_the_common_shells() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).render(Output::Text).contains("step-down"), "{shell}");
        }
    }
}
