use std::time::Instant;

use super::publisher::Publishing;
use super::rules;
use super::slow_path::SlowPath;
use crate::policy::{Rate, RateMeter, Refusal};
use crate::session::CloseReason;

/// How much a connection may send while it publishes: all bytes, media or not, against the sum of the rates of all its
/// publishers. In addition, each publisher has its own rate for its media.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// None while it publishes nothing, or publishes at least one stream without a limit.
    meter: Option<RateMeter>,
    /// When it last began to publish with a limit. The first publisher may send at once as much as its window allows. A
    /// publisher that stops and begins again may send only what the time between allows.
    begun: Option<Instant>,
}

impl Allowance {
    /// Another publisher begins, in addition to these.
    pub(super) fn begin(&mut self, now: Instant, rate: Option<Rate>, others: &[Publishing]) {
        let more = rate.map_or(0, |rate| match self.begun {
            Some(begun) => rate.earns(now.saturating_duration_since(begun)),
            None => rate.earns(rate.window),
        });
        self.begun = rate.map(|_| now).or(self.begun);
        self.set(now, others.iter().map(Publishing::rate).chain([rate]), more);
    }

    /// A publisher has ended, and these are left. If the ended one had no limit, their limit begins now, with a full
    /// window.
    pub(super) fn end(&mut self, now: Instant, left: &[Publishing]) {
        let more = if self.meter.is_none() { u64::MAX } else { 0 };
        self.set(now, left.iter().map(Publishing::rate), more);
    }

    fn set(&mut self, now: Instant, rates: impl Iterator<Item = Option<Rate>>, more: u64) {
        let sum = |sum: Rate, rate: Rate| Rate {
            bytes_per_second: sum.bytes_per_second.saturating_add(rate.bytes_per_second),
            window: sum.window.max(rate.window),
        };
        let all = rates.collect::<Option<Vec<_>>>();
        let Some(rate) = all.and_then(|rates| rates.into_iter().reduce(sum)) else {
            self.meter = None;
            return;
        };
        let mut meter = self.meter.take().unwrap_or_else(|| RateMeter::new(Rate { bytes_per_second: 0, ..rate }, now));
        meter.change(now, rate, more);
        self.meter = Some(meter);
    }

    /// How many of these bytes the session may parse.
    fn take(&mut self, now: Instant, bytes: usize) -> usize {
        self.meter.as_mut().map_or(bytes, |meter| meter.take(now, bytes))
    }
}

impl SlowPath {
    /// The session parses the peer's bytes up to the one that exceeds the limit, however they are cut.
    pub(super) fn read_input(&mut self, now: Instant, bytes: &[u8]) {
        if self.session.is_closing() {
            _ = self.session.handle_input(now, bytes);
            return;
        }
        let (allowed, rest) = bytes.split_at(self.allowance.take(now, bytes.len()));
        // The session remembers the error and returns Closed with it.
        _ = self.session.handle_input(now, allowed);
        if !rest.is_empty() {
            self.report_ended(&Refusal::LimitBitrate, true);
            let rejection = rules::publish_denied(Refusal::LimitBitrate);
            for publishing in &self.publishing {
                self.session.stop_publisher(publishing.message_stream_id(), &rejection);
            }
            self.session.close_with_words(CloseReason::Refused(Refusal::LimitBitrate));
            _ = self.session.handle_input(now, rest);
        }
    }
}
