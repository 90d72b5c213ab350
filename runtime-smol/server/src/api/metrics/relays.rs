//! The metrics of pushes and pulls.

use std::collections::BTreeSet;
use std::fmt;

use anabranch_core::relay::{RelayKind, RelaySnapshot, RelayState};
use anabranch_host::UplinkTotals;

use super::Writer;

/// So many pushes and pulls have their own series.
const MOST: usize = 1000;

type Labels = [(&'static str, String); 5];

pub(super) fn encode(relays: &[RelaySnapshot], totals: &UplinkTotals, writer: &mut Writer<'_>) -> fmt::Result {
    let kinds = [RelayKind::Push, RelayKind::Pull, RelayKind::Upward, RelayKind::Traverse];
    let states = kinds.into_iter().flat_map(|kind| {
        RelayState::ALL.map(|state| {
            let count = relays.iter().filter(|relay| (relay.kind, relay.state) == (kind, state)).count();
            ([("kind", kind.name().to_owned()), ("state", state.name().to_owned())], count as u64)
        })
    });
    writer.gauges("anabranch_relays", "Pushes to and pulls from other servers, by kind and state", states)?;
    writer.gauge("anabranch_uplinks", "Connections to other servers that are open", totals.open as u64)?;
    writer.counter("anabranch_uplinks_opened", "Connections to other servers that were made", totals.opened)?;
    let closed = totals.closed.iter().map(|(reason, count)| ([("reason", (*reason).to_owned())], *count));
    writer.counters("anabranch_uplinks_closed", "Connections to other servers that ended, by the reason", closed)?;
    writer.counter("anabranch_uplinks_receive_bytes", "Bytes received from other servers", totals.bytes_in)?;
    writer.counter("anabranch_uplinks_send_bytes", "Bytes sent to other servers", totals.bytes_out)?;
    let words = "Frames that targets of pushes did not get because they were slow";
    writer.counter("anabranch_uplinks_dropped_frames", words, totals.dropped.frames)?;
    let each = each(relays);
    let of = |value: fn(&RelaySnapshot) -> u64| each.iter().map(move |(labels, relay)| (labels.clone(), value(relay)));
    let state = |relay: &RelaySnapshot| u64::from(matches!(relay.state, RelayState::Live | RelayState::Lagging));
    writer.gauges("anabranch_relay_live", "1 while the other server has granted the stream", of(state))?;
    let lag = |relay: &RelaySnapshot| relay.lag;
    writer.gauges("anabranch_relay_lag_frames", "Frames between a target and the newest frame", of(lag))?;
    let failures = |relay: &RelaySnapshot| u64::from(relay.failures);
    writer.gauges("anabranch_relay_consecutive_failures", "Attempts that failed since it was live", of(failures))?;
    writer.counters("anabranch_relay_attempts", "Attempts that were made", of(|relay| relay.attempts))?;
    writer.counters("anabranch_relay_connects", "Attempts that became live", of(|relay| relay.connects))?;
    writer.counters("anabranch_relay_receive_bytes", "Bytes received", of(|relay| relay.bytes_in))?;
    writer.counters("anabranch_relay_send_bytes", "Bytes sent", of(|relay| relay.bytes_out))?;
    let words = "Frames that were not sent because the target was slow or gone";
    writer.counters("anabranch_relay_dropped_frames", words, of(|relay| relay.dropped.frames))
}

/// Those with their own series. Questions to origins about clients are too short for that.
fn each(relays: &[RelaySnapshot]) -> Vec<(Labels, &RelaySnapshot)> {
    let mut known = BTreeSet::new();
    let lasting = relays.iter().filter(|relay| relay.kind != RelayKind::Traverse);
    let labelled = lasting.map(|relay| (labels(relay), relay));
    // A series is there once, even if one relay ends while the next one begins.
    labelled.filter(|(labels, _)| known.insert(labels.clone())).take(MOST).collect()
}

fn labels(relay: &RelaySnapshot) -> Labels {
    let key = &relay.key;
    [
        ("kind", relay.kind.name().to_owned()),
        ("vhost", key.vhost().to_owned()),
        ("app", key.app().to_owned()),
        ("stream", key.stream().to_owned()),
        ("target", relay.target.to_string()),
    ]
}
