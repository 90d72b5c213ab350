//! What a program writes, as lines for the log. Pure.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::policy::without_passes;

/// The most bytes of a line in the log; the rest of the line is left out.
const LONGEST: usize = 1000;
/// How many seconds' worth of lines may come at once.
const BURST: u32 = 10;
/// How often the log says how many lines were left out.
const EACH: Duration = Duration::from_secs(10);

/// How many lines the log gets.
#[derive(Debug)]
pub(super) struct Rate {
    /// Lines a second.
    lines: u32,
    /// When all of the burst is there again.
    full: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant, lines: u32) -> Self {
        Rate { lines, full: now }
    }

    /// Whether one more line is within the rate, which counts it.
    fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / self.lines.max(1);
        let full = self.full.max(now) + each;
        let is_within = full <= now + each * self.lines * BURST;
        if is_within {
            self.full = full;
        }
        is_within
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full <= now
    }
}

/// A rate that several starts or programs share.
pub(super) type Shared = Arc<Mutex<Rate>>;

/// Whether it is as it was at first.
pub(super) fn is_full(rate: &Shared, now: Instant) -> bool {
    lock(rate).is_full(now)
}

/// Cuts output into lines, and limits how many of them the log gets.
#[derive(Debug)]
pub(super) struct Output {
    /// The rate of the entry for this stream, and that of all programs.
    rates: [Shared; 2],
    /// The line that has no end yet.
    line: Vec<u8>,
    /// Bytes of it that are left out.
    cut: usize,
    /// Lines left out since the log said so.
    left_out: u64,
    said: Option<Instant>,
    secrets: Vec<String>,
}

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Line(String),
    LeftOut(u64),
    /// What the program left behind is killed.
    RestKilled,
    /// It is still there.
    Stays,
}

impl Output {
    /// `secrets` are texts that must not come into the log.
    pub(super) fn new(rates: [Shared; 2], mut secrets: Vec<String>) -> Self {
        // One may have another one in it.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        Output { rates, line: Vec::new(), cut: 0, left_out: 0, said: None, secrets }
    }

    /// The next bytes. A carriage return ends a line, too: ffmpeg shows its progress like that.
    pub(super) fn take(&mut self, now: Instant, bytes: &[u8], mut log: impl FnMut(Entry)) {
        if self.rates.iter().any(|rate| lock(rate).lines == 0) {
            return;
        }
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, ends) = match piece.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LONGEST - self.line.len();
            let (kept, cut) = text.split_at(text.len().min(room));
            self.line.extend_from_slice(kept);
            self.cut += cut.len();
            if ends {
                self.end_line(now, &mut log);
            }
        }
    }

    /// The program has ended.
    pub(super) fn finish(&mut self, now: Instant, mut log: impl FnMut(Entry)) {
        self.end_line(now, &mut log);
        if self.left_out > 0 {
            log(Entry::LeftOut(std::mem::take(&mut self.left_out)));
        }
    }

    fn end_line(&mut self, now: Instant, log: &mut impl FnMut(Entry)) {
        let (line, cut) = (std::mem::take(&mut self.line), std::mem::take(&mut self.cut));
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if !self.rates.iter().all(|rate| lock(rate).take(now)) {
            self.left_out += 1;
            if self.said.is_none_or(|said| now.saturating_duration_since(said) >= EACH) {
                self.said = Some(now);
                log(Entry::LeftOut(std::mem::take(&mut self.left_out)));
            }
            return;
        }
        let mut text = without_passes(String::from_utf8_lossy(&line).trim_end());
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        if cut > 0 {
            text.push_str(&format!("... ({cut} bytes more)"));
        }
        log(Entry::Line(text));
    }
}

fn lock(rate: &Shared) -> MutexGuard<'_, Rate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(now: Instant, lines: u32) -> Shared {
        Arc::new(Mutex::new(Rate::new(now, lines)))
    }

    fn output(now: Instant, lines: u32) -> Output {
        Output::new([rate(now, lines), rate(now, 10_000)], Vec::new())
    }

    fn all(output: &mut Output, now: Instant, pieces: &[&[u8]]) -> Vec<Entry> {
        let mut entries = Vec::new();
        pieces.iter().for_each(|bytes| output.take(now, bytes, |entry| entries.push(entry)));
        entries
    }

    fn line(text: &str) -> Entry {
        Entry::Line(text.to_owned())
    }

    #[test]
    fn output_becomes_lines_however_it_is_cut() {
        let now = Instant::now();
        let mut output = output(now, 10);
        let entries = all(&mut output, now, &[b"on", b"e\ntwo\r", b"\n  \nthree \xff\nfo", b"ur"]);
        assert_eq!(entries, [line("one"), line("two"), line("three \u{fffd}")]);
        let mut last = Vec::new();
        output.finish(now, |entry| last.push(entry));
        assert_eq!(last, [line("four")]);
    }

    #[test]
    fn long_lines_are_cut_and_take_no_memory() {
        let now = Instant::now();
        let mut output = output(now, 10);
        let mut entries = all(&mut output, now, &[&[b'x'; 100_000], &[b'x'; 100_000]]);
        assert!(output.line.capacity() <= 2 * LONGEST);
        entries.extend(all(&mut output, now, &[b"\nshort\n"]));
        assert_eq!(entries, [line(&format!("{}... (199000 bytes more)", "x".repeat(1000))), line("short")]);
    }

    #[test]
    fn a_flood_gets_its_lines_a_second_and_the_rest_is_counted() {
        let mut now = Instant::now();
        let mut output = output(now, 2);
        let (mut lines, mut left_out) = (0, 0);
        let mut count = |entry| match entry {
            Entry::Line(_) => lines += 1,
            Entry::LeftOut(count) => left_out += count,
            other => panic!("{other:?}"),
        };
        for _ in 0..60 {
            output.take(now, b"flood\n".repeat(1000).as_slice(), &mut count);
            now += Duration::from_secs(1);
        }
        output.finish(now, &mut count);
        assert!((lines, left_out) == (2 * 10 + 2 * 59, 60_000 - 138), "{lines} {left_out}");
    }

    #[test]
    fn a_program_that_is_started_again_and_again_gets_no_more_lines() {
        let now = Instant::now();
        let (of_entry, of_all) = (rate(now, 2), rate(now, 3));
        let mut lines = 0;
        let mut write = |of_entry: &Shared| {
            let mut output = Output::new([of_entry.clone(), of_all.clone()], Vec::new());
            let mut log = |entry| lines += u32::from(matches!(entry, Entry::Line(_)));
            output.take(now, b"flood\n".repeat(100).as_slice(), &mut log);
            output.finish(now, &mut log);
            lines
        };
        assert_eq!(write(&of_entry), 2 * BURST);
        assert_eq!(write(&of_entry), 2 * BURST, "another start of it");
        // Another program, and the rate of all.
        assert_eq!(write(&rate(now, 100)), 3 * BURST);
        assert_eq!(write(&rate(now, 100)), 3 * BURST);
        assert!(!lock(&of_entry).is_full(now) && lock(&of_entry).is_full(now + Duration::from_secs(u64::from(BURST))));
    }

    #[test]
    fn secrets_do_not_come_into_the_log() {
        let now = Instant::now();
        let secrets = vec!["long-key".to_owned(), "long-key-of-mine".to_owned()];
        let mut output = Output::new([rate(now, 10), rate(now, 10)], secrets);
        let entries = all(&mut output, now, &[b"KEY=long-key-of-mine, or long-key?\n"]);
        assert_eq!(entries, [line("KEY=***, or ***?")]);
    }

    #[test]
    fn with_no_lines_for_the_log_nothing_is_kept() {
        let now = Instant::now();
        let mut output = output(now, 0);
        assert_eq!(all(&mut output, now, &[b"one\ntwo"]), []);
        assert!(output.line.is_empty());
    }

    #[test]
    fn passes_do_not_come_into_the_log() {
        let now = Instant::now();
        let text = b"from 'rtmp://127.0.0.1/live?anabranch_pass=17-0a-0b/cam'\n";
        let entries = all(&mut output(now, 1), now, &[text]);
        assert_eq!(entries, [line("from 'rtmp://127.0.0.1/live?anabranch_pass=***/cam'")]);
    }
}
