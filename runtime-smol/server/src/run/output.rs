//! What a program writes, as lines for the log. Pure.

use std::time::{Duration, Instant};

use anabranch_core::policy::without_passes;

/// The most bytes of a line in the log; the rest of the line is left out.
const LONGEST: usize = 1000;
/// How many seconds' worth of lines may come at once.
const BURST: u32 = 10;
/// How often the log says how many lines were left out.
const EACH: Duration = Duration::from_secs(10);

/// Cuts output into lines, and limits how many of them the log gets.
#[derive(Debug)]
pub(super) struct Output {
    /// Lines a second.
    rate: u32,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// Bytes of it that are left out.
    cut: usize,
    /// When all of the burst is there again.
    full: Instant,
    /// Lines left out since the log said so.
    left_out: u64,
    said: Option<Instant>,
}

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Line(String),
    LeftOut(u64),
}

impl Output {
    pub(super) fn new(now: Instant, rate: u32) -> Self {
        Output { rate, line: Vec::new(), cut: 0, full: now, left_out: 0, said: None }
    }

    /// The next bytes. A carriage return ends a line, too: ffmpeg shows its progress like that.
    pub(super) fn take(&mut self, now: Instant, bytes: &[u8], mut log: impl FnMut(Entry)) {
        if self.rate == 0 {
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
        let each = Duration::from_secs(1) / self.rate.max(1);
        let full = self.full.max(now) + each;
        if full > now + each * self.rate * BURST {
            self.left_out += 1;
            if self.said.is_none_or(|said| now.saturating_duration_since(said) >= EACH) {
                self.said = Some(now);
                log(Entry::LeftOut(std::mem::take(&mut self.left_out)));
            }
            return;
        }
        self.full = full;
        let mut text = without_passes(String::from_utf8_lossy(&line).trim_end());
        if cut > 0 {
            text.push_str(&format!("... ({cut} bytes more)"));
        }
        log(Entry::Line(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut output = Output::new(now, 10);
        let entries = all(&mut output, now, &[b"on", b"e\ntwo\r", b"\n  \nthree \xff\nfo", b"ur"]);
        assert_eq!(entries, [line("one"), line("two"), line("three \u{fffd}")]);
        let mut last = Vec::new();
        output.finish(now, |entry| last.push(entry));
        assert_eq!(last, [line("four")]);
    }

    #[test]
    fn long_lines_are_cut_and_take_no_memory() {
        let now = Instant::now();
        let mut output = Output::new(now, 10);
        let mut entries = all(&mut output, now, &[&[b'x'; 100_000], &[b'x'; 100_000]]);
        assert!(output.line.capacity() <= 2 * LONGEST);
        entries.extend(all(&mut output, now, &[b"\nshort\n"]));
        assert_eq!(entries, [line(&format!("{}... (199000 bytes more)", "x".repeat(1000))), line("short")]);
    }

    #[test]
    fn a_flood_gets_its_lines_a_second_and_the_rest_is_counted() {
        let mut now = Instant::now();
        let mut output = Output::new(now, 2);
        let (mut lines, mut left_out) = (0, 0);
        let mut count = |entry| match entry {
            Entry::Line(_) => lines += 1,
            Entry::LeftOut(count) => left_out += count,
        };
        for _ in 0..60 {
            output.take(now, b"flood\n".repeat(1000).as_slice(), &mut count);
            now += Duration::from_secs(1);
        }
        output.finish(now, &mut count);
        assert!((lines, left_out) == (2 * 10 + 2 * 59, 60_000 - 138), "{lines} {left_out}");
    }

    #[test]
    fn with_no_lines_for_the_log_nothing_is_kept() {
        let now = Instant::now();
        let mut output = Output::new(now, 0);
        assert_eq!(all(&mut output, now, &[b"one\ntwo"]), []);
        assert!(output.line.is_empty());
    }

    #[test]
    fn passes_do_not_come_into_the_log() {
        let now = Instant::now();
        let text = b"from 'rtmp://127.0.0.1/live?anabranch_pass=17-0a-0b/cam'\n";
        let entries = all(&mut Output::new(now, 1), now, &[text]);
        assert_eq!(entries, [line("from 'rtmp://127.0.0.1/live?anabranch_pass=***/cam'")]);
    }
}
