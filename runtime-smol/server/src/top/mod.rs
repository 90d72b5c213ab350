//! `anabranch top`: a live table of a running server, over its API.

mod snapshot;
mod table;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::remote::Remote;
use crate::settings::Sources;
use snapshot::{Rates, Snapshot};
use table::{Order, View};
use terminal::{Key, Screen};

/// The subcommand.
pub(crate) const TOP: &str = "top";
const ONCE: &str = "once";
const INTERVAL: &str = "interval";
const SORT: &str = "sort";

/// How long a key may wait for the screen to notice it.
const TICK: Duration = Duration::from_millis(100);
/// The size of a table that is not shown on a terminal.
const PLAIN: (usize, usize) = (100, usize::MAX);

/// The subcommand with its options.
pub(crate) fn command() -> Command {
    let once = Arg::new(ONCE).long(ONCE).action(ArgAction::SetTrue).help("Print one table and exit");
    let interval = Arg::new(INTERVAL)
        .long(INTERVAL)
        .short('n')
        .value_name("SECONDS")
        .default_value("2")
        .value_parser(value_parser!(u64).range(1..=3600))
        .help("The time between two tables");
    let sort = Arg::new(SORT)
        .long(SORT)
        .value_name("COLUMN")
        .default_value("in")
        .value_parser(clap::builder::PossibleValuesParser::new(Order::ALL.map(Order::name)))
        .help("The column by which streams are sorted; keys change it: see the last line of the table");
    Command::new(TOP)
        .about("Show a live table of the running server: streams, bit rates, players, lag, drops, last closes")
        .long_about(
            "Show a live table of the running server: streams, bit rates, players, lag, drops, and why the last \
             connections were closed. q ends it. If the output is no terminal, the tables are plain text, one after the \
             other.",
        )
        .args(Remote::arguments())
        .args([once, interval, sort])
}

/// Shows the table until the user ends it.
///
/// # Errors
/// With `--once`, or at the beginning: the server does not answer.
pub(crate) fn run(matches: &ArgMatches, sources: &Sources) -> Result<ExitCode, String> {
    let remote = Remote::of(matches, sources)?;
    let interval = Duration::from_secs(matches.get_one::<u64>(INTERVAL).copied().unwrap_or(2));
    let order = matches.get_one::<String>(SORT).and_then(|name| Order::of(name)).unwrap_or_default();
    let mut view = View::new(remote.url(), order);
    if matches.get_flag(ONCE) {
        view.show(Snapshot::ask(&remote)?);
        let _ = print(&view);
        return Ok(ExitCode::SUCCESS);
    }
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        // A wrong URL or token is an error and no empty screen.
        view.show(Snapshot::ask(&remote)?);
        live(view, remote, interval)?;
    } else {
        plain(view, &remote, interval);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints tables one after the other, as long as a reader takes them.
fn plain(mut view: View, remote: &Remote, interval: Duration) {
    loop {
        let asked = Instant::now();
        match Snapshot::ask(remote) {
            Ok(snapshot) => view.show(snapshot),
            Err(words) => view.lose(&words, asked),
        }
        if print(&view).and_then(|()| writeln!(io::stdout())).is_err() {
            return;
        }
        thread::sleep(interval.saturating_sub(asked.elapsed()));
    }
}

fn print(view: &View) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in view.lines(PLAIN, false) {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()
}

/// Shows the table on the terminal until the user ends it.
fn live(mut view: View, remote: Remote, interval: Duration) -> Result<(), String> {
    let failed = |error: io::Error| format!("the terminal cannot be used: {error}");
    let answers = asking(remote, interval)?;
    let mut screen = Screen::open().map_err(failed)?;
    let mut is_new = true;
    loop {
        if is_new {
            screen.draw(&view.lines(screen.size(), screen.has_colour())).map_err(failed)?;
        }
        is_new = screen.was_resized();
        match screen.key(TICK).map_err(failed)? {
            Some(Key::Quit) => return Ok(()),
            Some(Key::Character(c)) => is_new |= view.key(c),
            Some(Key::Up) => is_new |= view.scroll(-1),
            Some(Key::Down) => is_new |= view.scroll(1),
            None => {}
        }
        match answers.try_recv() {
            Ok(Ok(snapshot)) => view.show(snapshot),
            Ok(Err((words, asked))) => view.lose(&words, asked),
            Err(TryRecvError::Empty) => continue,
            Err(TryRecvError::Disconnected) => return Err("asking the server has ended, which is a bug".to_owned()),
        }
        is_new = true;
    }
}

type Answer = Result<Snapshot, (String, Instant)>;

/// Asks the server again and again on a thread, so that keys work while it does not answer.
fn asking(remote: Remote, interval: Duration) -> Result<Receiver<Answer>, String> {
    let (sender, receiver) = channel();
    let ask = move || {
        loop {
            thread::sleep(interval);
            let asked = Instant::now();
            if sender.send(Snapshot::ask(&remote).map_err(|words| (words, asked))).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("top".to_owned()).spawn(ask);
    thread.map(|_| receiver).map_err(|error| format!("cannot start a thread that asks the server: {error}"))
}
