//! What the API shows of WebRTC.

use std::collections::HashMap;

use anabranch_host::Handle;

use super::shapes::OverRtc;

/// What is known of the clients by WebRTC, by the number of their connection.
#[cfg(feature = "webrtc")]
pub(super) fn clients(handle: &Handle) -> HashMap<u64, OverRtc> {
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let show = |view: &anabranch_host::webrtc::desk::SessionView| OverRtc {
        connected: view.remote.is_some(),
        transport: if view.by_tcp { "tcp" } else { "udp" }.to_owned(),
        address: view.remote.map(|remote| remote.to_string()).unwrap_or_default(),
        round_trip_ms: view.network.round_trip.map(milliseconds),
        loss: view.network.loss.map(f64::from).filter(|loss| loss.is_finite()),
        jitter_ms: view.network.jitter.map(milliseconds),
        nacks: view.network.nacks,
        keys_wanted: view.network.keys_wanted,
        estimate_kbps: view.network.estimate.map(|bits| bits / 1000),
        skipped_pictures: view.skipped,
    };
    handle.rtc_sessions().iter().map(|session| (session.connection, show(&session.view))).collect()
}

/// There are none in a build without WebRTC.
#[cfg(not(feature = "webrtc"))]
pub(super) fn clients(_: &Handle) -> HashMap<u64, OverRtc> {
    HashMap::new()
}
