use std::time::Instant;

use super::{Rates, Snapshot};
use crate::terminal_text::{cut, fit, fit_end, width};

use super::snapshot::{Close, Stream};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The most lines for connections that have ended.
const CLOSES: usize = 6;
/// The columns of a line without its name, and the least that a name gets.
const REST: usize = 66;
const NAME: usize = 14;
const KEYS: &str = "q quit  sort by: n i o p l d  r reverse  j k scroll";

/// The column by which streams are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    Name,
    #[default]
    In,
    Out,
    Players,
    Lag,
    Dropped,
}

impl Order {
    pub(super) const ALL: [Order; 6] = [Order::Name, Order::In, Order::Out, Order::Players, Order::Lag, Order::Dropped];

    pub(super) fn name(self) -> &'static str {
        match self {
            Order::Name => "name",
            Order::In => "in",
            Order::Out => "out",
            Order::Players => "players",
            Order::Lag => "lag",
            Order::Dropped => "dropped",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Order::ALL.into_iter().find(|order| order.name() == name)
    }

    fn of_key(key: char) -> Option<Self> {
        Order::ALL.into_iter().find(|order| order.name().starts_with(key.to_ascii_lowercase()))
    }
}

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct View {
    url: String,
    now: Option<Snapshot>,
    rates: Rates,
    /// Why the server does not answer, and since when.
    lost: Option<(String, Instant)>,
    order: Order,
    is_reversed: bool,
    /// Streams that are scrolled away.
    first: usize,
}

impl View {
    pub(super) fn new(url: &str, order: Order) -> Self {
        View {
            url: url.to_owned(),
            now: None,
            rates: Rates::default(),
            lost: None,
            order,
            is_reversed: false,
            first: 0,
        }
    }

    /// Shows this from now on.
    pub(super) fn show(&mut self, snapshot: Snapshot) {
        self.rates = Rates::of(self.now.as_ref(), &snapshot);
        self.first = self.first.min(snapshot.streams.len().saturating_sub(1));
        (self.now, self.lost) = (Some(snapshot), None);
    }

    /// The server did not answer when it was asked at that time. What it said last stays.
    pub(super) fn lose(&mut self, words: &str, asked: Instant) {
        let since = self.lost.take().map_or(asked, |(_, since)| since);
        self.lost = Some((crate::terminal_text::clean(words), since));
    }

    /// Returns true if the key means something.
    pub(super) fn key(&mut self, key: char) -> bool {
        match key {
            'j' => return self.scroll(1),
            'k' => return self.scroll(-1),
            'r' => self.is_reversed = !self.is_reversed,
            _ => match Order::of_key(key) {
                Some(order) => (self.order, self.first) = (order, 0),
                None => return false,
            },
        }
        true
    }

    /// Moves the list of streams by so many lines.
    pub(super) fn scroll(&mut self, lines: isize) -> bool {
        let last = self.now.as_ref().map_or(0, |now| now.streams.len().saturating_sub(1));
        let before = self.first;
        self.first = self.first.saturating_add_signed(lines).min(last);
        self.first != before
    }

    /// The lines for a screen of so many columns and rows.
    pub(super) fn lines(&self, (columns, rows): (usize, usize), colour: bool) -> Vec<String> {
        let paint = |style: &str, text: &str| if colour { format!("{style}{text}{PLAIN}") } else { text.to_owned() };
        let mut lines = Vec::new();
        let Some(now) = &self.now else {
            lines.push(paint(RED, &cut(&self.loss().unwrap_or_else(|| format!("{}: asking", self.url)), columns)));
            return lines;
        };
        for line in self.totals(now) {
            lines.push(paint(BOLD, &cut(&line, columns)));
        }
        if let Some(words) = self.loss() {
            lines.push(paint(RED, &cut(&words, columns)));
        } else if now.is_draining {
            lines.push(paint(RED, &cut("the server drains: it takes no new clients", columns)));
        }
        lines.push(String::new());
        let name = columns.saturating_sub(REST).max(NAME);
        lines.push(paint(BOLD, &cut(&self.heading(name), columns)));
        let closes = now.closes.len().min(CLOSES);
        let below = if closes > 0 { closes + 2 } else { 0 } + usize::from(rows != usize::MAX);
        let room = rows.saturating_sub(lines.len() + below).max(1);
        let streams = self.sorted(now);
        for stream in streams.iter().skip(self.first).take(room) {
            let line = cut(&row(stream, name), columns);
            let style = match stream {
                Stream { is_live: false, .. } => DIM,
                Stream { lag: 100.., .. } => RED,
                _ => "",
            };
            lines.push(if style.is_empty() { line } else { paint(style, &line) });
        }
        let shown = streams.len().saturating_sub(self.first).min(room) as u64;
        let hidden = now.total.max(streams.len() as u64).saturating_sub(shown);
        if streams.is_empty() {
            lines.push("no client publishes or waits for a stream".to_owned());
        } else if hidden > 0 && rows == usize::MAX {
            lines.push(format!("and {hidden} more streams"));
        }
        if closes > 0 {
            lines.push(String::new());
            lines.push(paint(BOLD, &cut("LAST CLOSES (UTC)", columns)));
            lines.extend(ended(&now.closes[..closes], columns).iter().map(|line| cut(line, columns)));
        }
        if rows != usize::MAX {
            lines.truncate(rows.saturating_sub(1));
            lines.resize(rows.saturating_sub(1), String::new());
            let more = if hidden > 0 { format!("{hidden} more streams  ") } else { String::new() };
            lines.push(paint(DIM, &cut(&format!("{more}{KEYS}"), columns)));
        }
        lines
    }

    fn loss(&self) -> Option<String> {
        let (words, since) = self.lost.as_ref()?;
        let words = words.strip_prefix(&format!("{} does not answer: ", self.url)).unwrap_or(words);
        Some(format!("lost the server {} ago, trying again ({words})", span(since.elapsed().as_secs())))
    }

    fn totals(&self, now: &Snapshot) -> [String; 2] {
        let Rates { in_kbps, out_kbps } = self.rates;
        let (held, limit) = now.stream_memory;
        let window = now.streams.iter().map(|stream| stream.window).max();
        let window = window.map_or_else(String::new, |window| format!("  wait {window} ms"));
        [
            format!(
                "anabranch {}  up {}  connections {}  publishers {}  players {}{window}",
                now.version,
                span(now.uptime),
                now.connections,
                now.publishers,
                now.players
            ),
            format!(
                "in {}  out {}  cpu {:.0} %  memory {}  streams {} of {}",
                rate(in_kbps),
                rate(out_kbps),
                now.cpu * 100.0,
                size(now.memory_kib << 10),
                size(held),
                size(limit)
            ),
        ]
    }

    fn heading(&self, name: usize) -> String {
        let mark = |order: Order, title: &str| {
            let direction = if self.is_reversed { "<" } else { ">" };
            if self.order == order { format!("{direction}{title}") } else { title.to_owned() }
        };
        format!(
            "{} {:>8} {:>5} {:>8} {:>7} {:>4} {:>8} VIDEO AUDIO",
            fit(&mark(Order::Name, "STREAM"), name),
            mark(Order::In, "IN kb/s"),
            "FPS",
            mark(Order::Players, "PLAYERS"),
            mark(Order::Out, "OUT"),
            mark(Order::Lag, "LAG"),
            mark(Order::Dropped, "DROPPED"),
        )
    }

    fn sorted<'a>(&self, now: &'a Snapshot) -> Vec<&'a Stream> {
        let mut streams: Vec<_> = now.streams.iter().collect();
        let by = |rate: fn(&Stream) -> u64| move |stream: &&Stream| std::cmp::Reverse(rate(stream));
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        match self.order {
            Order::Name => {}
            Order::In => streams.sort_by_key(by(|stream| stream.in_kbps)),
            Order::Out => streams.sort_by_key(by(|stream| stream.out_kbps)),
            Order::Players => streams.sort_by_key(by(|stream| stream.players)),
            Order::Lag => streams.sort_by_key(by(|stream| stream.lag)),
            Order::Dropped => streams.sort_by_key(by(|stream| stream.dropped)),
        }
        if self.is_reversed {
            streams.reverse();
        }
        streams
    }
}

fn row(stream: &Stream, name: usize) -> String {
    let media = match (stream.is_live, stream.video.as_str(), stream.audio.as_str()) {
        (false, ..) => "no publisher".to_owned(),
        (true, "", audio) => audio.to_owned(),
        (true, video, "") => video.to_owned(),
        (true, video, audio) => format!("{video} {audio}"),
    };
    format!(
        "{} {:>8} {:>5.1} {:>8} {:>7} {:>4} {:>8} {media}",
        fit_end(&stream.name, name),
        stream.in_kbps,
        stream.fps,
        stream.players,
        stream.out_kbps,
        stream.lag,
        stream.dropped,
    )
}

/// A line for each, with columns of equal width.
fn ended(closes: &[Close], columns: usize) -> Vec<String> {
    let widest = |text: fn(&Close) -> &str| closes.iter().map(|close| width(text(close))).max().unwrap_or_default();
    let (address, reason) = (widest(|close| &close.address), widest(|close| &close.reason));
    let line = |close: &Close| {
        let second = close.time % 86_400;
        let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let role = if close.role.is_empty() { "client" } else { &close.role };
        let front = format!("{time} {role:9} ");
        let back = format!(" {} {} after ", fit(&close.address, address), fit(&close.reason, reason));
        // What is said of it matters more than all of its name. The longest time has 6 characters.
        let name = columns.min(100).saturating_sub(width(&front) + width(&back) + 6).max(NAME);
        format!("{front}{}{back}{}", fit_end(&close.stream, name), span(close.seconds))
    };
    closes.iter().map(line).collect()
}

/// A time in a few characters.
fn span(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn rate(kbps: f64) -> String {
    match kbps {
        ..1000.0 => format!("{kbps:.0} kb/s"),
        ..1_000_000.0 => format!("{:.1} Mb/s", kbps / 1000.0),
        _ => format!("{:.2} Gb/s", kbps / 1_000_000.0),
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0..=9999 => format!("{} MiB", bytes >> 20),
        mib => format!("{:.1} GiB", mib as f64 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::example;
    use super::*;

    fn view() -> View {
        let mut view = View::new("http://127.0.0.1:1985", Order::In);
        view.show(example());
        view
    }

    #[test]
    fn everything_is_in_80_columns() {
        let view = view();
        let lines = view.lines((80, 24), false);
        assert!(lines.len() == 24 && lines.iter().all(|line| width(line) <= 80), "{lines:#?}");
        let all = lines.join("\n");
        for words in [
            "anabranch 1.2.3  up 1d01h  connections 12  publishers 3  players 10  wait 65 ms",
            "in 4.5 Mb/s  out 40.5 Mb/s  cpu 50 %  memory 20 MiB  streams 1 MiB of 10 MiB",
            "live/cam           4500  30.0        9   40500    3      120 H264 1920x1080 AAC",
            "STREAM         >IN kb/s   FPS  PLAYERS     OUT  LAG  DROPPED VIDEO AUDIO",
            "publisher live/x?31m",
            "10.0.0.1 peer_lost     after 1m02s",
            "publish   live/y                    10.0.0.2 token_expired after 0s",
            "1 more streams  q quit",
        ] {
            assert!(all.contains(words), "{words} is not in\n{all}");
        }
        for columns in 0..200 {
            for rows in [0, 1, 5, 24] {
                assert!(
                    view.lines((columns, rows), false).iter().all(|line| width(line) <= columns.max(50)),
                    "{columns}"
                );
            }
        }
    }

    #[test]
    fn connections_that_ended_are_in_columns() {
        let close = |role: &str, stream: &str, address: &str, reason: &str| Close {
            time: 0,
            role: role.to_owned(),
            stream: stream.to_owned(),
            address: address.to_owned(),
            reason: reason.to_owned(),
            seconds: 5,
        };
        let closes =
            [close("player", "live/cam", "10.0.0.1", "peer_closed"), close("", "", "192.168.100.1", "handshake_error")];
        let lines = ended(&closes, 80);
        for words in [[" 10.0.0.1", " 192.168"], [" peer_closed", " handshake"], [" after 5s", " after 5s"]] {
            assert_eq!(lines[0].find(words[0]), lines[1].find(words[1]), "{lines:#?}");
        }
        assert!(lines.iter().all(|line| width(line) <= 80), "{lines:#?}");
    }

    #[test]
    fn plain_lines_have_no_colours_and_coloured_ones_end_them() {
        assert!(view().lines((80, 24), false).iter().all(|line| !line.contains('\x1b')));
        for line in view().lines((80, 24), true) {
            assert_eq!(line.matches("\x1b[").count() % 2, 0, "{line:?}");
            assert!(!line.contains('\x1b') || line.ends_with(PLAIN), "{line:?}");
        }
    }

    #[test]
    fn keys_sort_reverse_and_scroll() {
        let mut view = view();
        let first = |view: &View| view.lines((80, 24), false)[4].clone();
        assert!(first(&view).starts_with("live/cam"));
        assert!(view.key('r') && first(&view).contains("owned"));
        assert!(view.key('r') && view.key('n') && first(&view).contains("owned"));
        assert!(!view.key('x') && !view.key('?'));
        assert!(view.key('p') && first(&view).starts_with("live/cam"));
        assert!(view.key('j') && first(&view).contains("owned") && !view.scroll(1) && view.key('k'));
    }

    #[test]
    fn a_server_that_is_lost_is_said_and_what_it_said_stays() {
        let mut view = view();
        view.lose("http://127.0.0.1:1985 does not answer: \x1b[2J", Instant::now());
        let all = view.lines((80, 24), false).join("\n");
        assert!(all.contains("lost the server 0s ago, trying again (?[2J)") && all.contains("live/cam"), "{all}");
        assert!(!all.contains('\x1b'));
        view.show(example());
        assert!(!view.lines((80, 24), false).join("\n").contains("lost the server"));
    }

    #[test]
    fn times_and_rates_are_short() {
        assert_eq!([0, 61, 3720, 90_061].map(span), ["0s", "1m01s", "1h02m", "1d01h"]);
        assert_eq!([0.0, 999.0, 4500.0, 2_500_000.0].map(rate), ["0 kb/s", "999 kb/s", "4.5 Mb/s", "2.50 Gb/s"]);
        assert_eq!([0, 5 << 20, 20 << 30].map(size), ["0 MiB", "5 MiB", "20.0 GiB"]);
    }
}
