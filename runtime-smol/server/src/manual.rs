//! Shell completions and the manual page, generated from the command line's definition.

use std::io;

use clap::{Arg, Command, value_parser};
use clap_complete::Shell;

/// The subcommand that prints completions for a shell, and its argument.
pub(crate) const COMPLETIONS: &str = "completions";
pub(crate) const SHELL: &str = "shell";
/// The subcommand that prints the manual page, and its argument.
pub(crate) const MAN: &str = "man";
pub(crate) const PAGE: &str = "command";

/// Adds both subcommands.
pub(crate) fn add_to(program: Command) -> Command {
    let shell = Arg::new(SHELL).value_name("SHELL").required(true).value_parser(value_parser!(Shell));
    let names: Vec<_> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let page = Arg::new(PAGE)
        .value_name("COMMAND")
        .value_parser(move |name: &str| match names.iter().any(|known| known == name) {
            true => Ok(name.to_owned()),
            false => Err(format!("the subcommands are {}", names.join(", "))),
        })
        .help("A subcommand whose page is printed instead of the program's");
    program
        .subcommand(Command::new(COMPLETIONS).about("Print completions for a shell").arg(shell))
        .subcommand(Command::new(MAN).about("Print the manual page, in roff").arg(page))
}

/// Prints completions.
pub(crate) fn completions(mut program: Command, shell: Shell, out: &mut dyn io::Write) {
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, &mut program, name, out);
}

/// Prints the manual page of the program, or of a subcommand.
///
/// # Errors
/// Errors of `out`.
pub(crate) fn page(mut program: Command, subcommand: Option<&String>, out: &mut dyn io::Write) -> io::Result<()> {
    // Names of pages are set by this.
    program.build();
    let page = subcommand.and_then(|name| program.find_subcommand(name)).cloned().unwrap_or(program);
    clap_mangen::Man::new(page).render(out)
}
