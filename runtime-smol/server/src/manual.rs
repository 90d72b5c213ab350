//! Shell completions and the manual page, generated from the command line's definition.

use std::io;

use clap::{Arg, Command, value_parser};
use clap_complete::Shell;

/// The subcommand that prints completions for a shell, and its argument.
pub(crate) const COMPLETIONS: &str = "completions";
pub(crate) const SHELL: &str = "shell";
/// The subcommand that prints the manual page.
pub(crate) const MAN: &str = "man";

/// Adds both subcommands.
pub(crate) fn add_to(program: Command) -> Command {
    let shell = Arg::new(SHELL).value_name("SHELL").required(true).value_parser(value_parser!(Shell));
    program
        .subcommand(Command::new(COMPLETIONS).about("Print completions for a shell").arg(shell))
        .subcommand(Command::new(MAN).about("Print the manual page, in roff"))
}

/// Prints completions.
pub(crate) fn completions(mut program: Command, shell: Shell, out: &mut dyn io::Write) {
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, &mut program, name, out);
}

/// Prints the manual page.
///
/// # Errors
/// Errors of `out`.
pub(crate) fn page(program: Command, out: &mut dyn io::Write) -> io::Result<()> {
    clap_mangen::Man::new(program).render(out)
}
