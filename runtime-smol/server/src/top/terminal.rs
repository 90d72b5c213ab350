use std::env;
use std::io::{self, Write, stdin, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::{SigId, flag};

/// The other screen, without a cursor and without breaks of long lines; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left corner; to the end of the line and of the screen, removed.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// The state in which the terminal was before. While it is here, the terminal must be restored.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Up,
    Down,
    Character(char),
}

/// The whole terminal. When it is dropped, the terminal is as before; also after a panic, and after signals that end a
/// program.
pub(super) struct Screen {
    ended: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
    signals: Vec<SigId>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Errors of the terminal.
    pub(super) fn open() -> io::Result<Self> {
        let mut screen = Screen { ended: Arc::default(), resized: Arc::default(), signals: Vec::new() };
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            screen.signals.push(flag::register(signal, screen.ended.clone())?);
        }
        screen.signals.push(flag::register(SIGWINCH, screen.resized.clone())?);
        let before = tcgetattr(stdin())?;
        let mut modes = before.clone();
        // Keys come one by one and unseen; control keys are keys.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        modes.special_codes[SpecialCodeIndex::VMIN] = 0;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        *lock() = Some(before);
        // What a panic says must be seen on the screen that stays.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        tcsetattr(stdin(), OptionalActions::Flush, &modes)?;
        stdout().write_all(ENTER.as_bytes())?;
        stdout().flush()?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Whether colours are wanted: <https://no-color.org>.
    pub(super) fn has_colour(&self) -> bool {
        env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Whether the size has changed since the last call.
    pub(super) fn was_resized(&self) -> bool {
        self.resized.swap(false, Ordering::Relaxed)
    }

    /// Shows these lines and nothing else.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from(HOME);
        for (index, line) in lines.iter().enumerate() {
            text.push_str(line);
            text.push_str(REST_OF_LINE);
            // After the last line the screen would scroll.
            if index + 1 < lines.len() {
                text.push_str("\r\n");
            }
        }
        text.push_str(REST_OF_SCREEN);
        let mut out = stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Waits for a key.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn key(&mut self, timeout: Duration) -> io::Result<Option<Key>> {
        if self.ended.load(Ordering::Relaxed) {
            return Ok(Some(Key::Quit));
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let input = stdin();
        let mut files = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut files, Some(&wait)) {
            // A signal: its flag is looked at in the next turn.
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 16];
        match rustix::io::read(&input, &mut bytes) {
            // The terminal is gone.
            Ok(0) => Ok(Some(Key::Quit)),
            Ok(count) => Ok(key(&bytes[..count])),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        for signal in self.signals.drain(..) {
            signal_hook::low_level::unregister(signal);
        }
    }
}

/// Puts the terminal back, once.
fn restore() {
    if let Some(before) = lock().take() {
        // There is nothing to do if the terminal is gone.
        let _ = stdout().write_all(LEAVE.as_bytes());
        let _ = stdout().flush();
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key that sent these bytes.
fn key(bytes: &[u8]) -> Option<Key> {
    match bytes {
        b"\x1b[A" | b"\x1bOA" => Some(Key::Up),
        b"\x1b[B" | b"\x1bOB" => Some(Key::Down),
        // Ctrl-C, Ctrl-D, Ctrl-\ and Escape.
        [3 | 4 | 28 | 27] | [b'q' | b'Q', ..] => Some(Key::Quit),
        [c @ b' '..=b'~', ..] => Some(Key::Character(char::from(*c))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        for (bytes, expected) in [
            (&b"q"[..], Some(Key::Quit)),
            (b"\x03", Some(Key::Quit)),
            (b"\x1b", Some(Key::Quit)),
            (b"\x1b[A", Some(Key::Up)),
            (b"\x1bOB", Some(Key::Down)),
            (b"p", Some(Key::Character('p'))),
            (b"\x1b[5~", None),
            (b"\xff", None),
        ] {
            assert_eq!(key(bytes), expected, "{bytes:?}");
        }
    }
}
