//! The metrics of WebRTC.

use std::fmt;

use anabranch_host::{RtcSession, RtcStats};

use super::Writer;

/// The shares of sessions for which the network is shown: of so many it is at most that.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("1", 1.0)];

pub(super) fn encode(stats: &RtcStats, sessions: &[RtcSession], writer: &mut Writer<'_>) -> fmt::Result {
    let desk = &stats.desk;
    let gauges = [
        ("anabranch_rtc_publishers", "Sessions of WebRTC that publish", desk.publishers),
        ("anabranch_rtc_players", "Sessions of WebRTC that play", desk.players),
        ("anabranch_rtc_connecting", "Sessions of both that are not connected yet", desk.connecting),
        ("anabranch_rtc_streams", "Streams that are put into packets of WebRTC", desk.streams),
        ("anabranch_rtc_sounds", "Streams whose sound is put into Opus", desk.sounds),
        ("anabranch_rtc_kept_bytes", "Bytes of packets that are kept for viewers that join", desk.kept),
        ("anabranch_rtc_tcp_connections", "Connections of ICE over TCP", stats.tcp_connections),
    ];
    gauges.into_iter().try_for_each(|(name, words, count)| writer.gauge(name, words, count as u64))?;
    let counters = [
        ("anabranch_rtc_sessions_answered", "Offers that were answered", desk.answered),
        ("anabranch_rtc_sessions_connected", "Sessions that connected", desk.connected),
        ("anabranch_rtc_offers_refused", "Offers that were refused for what they are", desk.bad_offers),
        ("anabranch_rtc_offers_too_many", "Offers that were refused because there are too many", desk.too_many),
        ("anabranch_rtc_strange_datagrams", "Datagrams that belong to no session", desk.strange),
        ("anabranch_rtc_nacks", "Packets that players asked for again", desk.nacks),
        ("anabranch_rtc_keys_wanted", "Key frames that players asked for", desk.keys_wanted),
        ("anabranch_rtc_left_out_pictures", "Pictures left out because they come out of order", desk.left_out),
        ("anabranch_rtc_skipped_pictures", "Pictures that slow players did not get", desk.skipped),
        ("anabranch_rtc_received_datagrams", "Datagrams of UDP received", stats.received),
        ("anabranch_rtc_sent_datagrams", "Datagrams of UDP sent", stats.sent),
        ("anabranch_rtc_sent_bytes", "Bytes of datagrams of UDP sent", stats.sent_bytes),
        ("anabranch_rtc_sends", "Calls of the system that sent datagrams, several at once where it can", stats.sends),
        ("anabranch_rtc_lost_datagrams", "Datagrams that the system did not take in time", stats.lost),
    ];
    counters.into_iter().try_for_each(|(name, words, count)| writer.counter(name, words, count))?;
    let words = "Time to a client and back, by the share of sessions for which it is at most that";
    let times = sessions.iter().filter_map(|session| session.view.network.round_trip).map(|time| time.as_secs_f64());
    writer.gauges("anabranch_rtc_round_trip_seconds", words, quantiles(times.collect()))?;
    let words = "How much times of packets on their way differ, by the share of sessions for which it is at most that";
    let times = sessions.iter().filter_map(|session| session.view.network.jitter).map(|time| time.as_secs_f64());
    writer.gauges("anabranch_rtc_jitter_seconds", words, quantiles(times.collect()))?;
    let words =
        "Part of the packets that was lost of late, 0 to 1, by the share of sessions for which it is at most that";
    let losses = sessions.iter().filter_map(|session| session.view.network.loss).map(f64::from);
    writer.gauges("anabranch_rtc_loss_ratio", words, quantiles(losses.collect()))
}

/// What so many of the values do not exceed; 0 if there are none.
fn quantiles(mut values: Vec<f64>) -> impl Iterator<Item = ([(&'static str, String); 1], f64)> {
    values.sort_unstable_by(f64::total_cmp);
    QUANTILES.into_iter().map(move |(name, share)| {
        let place = (values.len() as f64 * share).ceil() as usize;
        let value = values.get(place.saturating_sub(1)).copied().filter(|value| value.is_finite());
        ([("sessions", name.to_owned())], value.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_so_many_do_not_exceed() {
        let of = |values: &[f64]| quantiles(values.to_vec()).map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(of(&[]), [0.0, 0.0, 0.0]);
        assert_eq!(of(&[0.3]), [0.3, 0.3, 0.3]);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(of(&hundred), [50.0, 95.0, 100.0]);
        assert_eq!(of(&[f64::NAN]), [0.0, 0.0, 0.0]);
    }
}
