//! The lines of the log.

use std::borrow::Cow;

use anabranch_core::url::{StreamKey, shortened};
use anabranch_rtc::desk::Remark;
use tracing::{info, warn};

/// Logs what is said of a session whose connection has this number, if there is one.
pub(super) fn tell(remark: &Remark, conn: Option<u64>, shown: impl Fn(std::net::SocketAddr) -> Option<String>) {
    match remark {
        Remark::Connected { remote, after, .. } => {
            let (Some(conn), address, ms) = (conn, shown(*remote), after.as_millis() as u64) else { return };
            let from = address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
            let address = address.as_deref();
            info!(
                event = "webrtc_connected",
                conn, address, ms, "conn {conn} is connected by WebRTC{from} after {ms} ms"
            );
        }
        // The line of the end of its connection says why.
        Remark::Gone { .. } => {}
        Remark::LeavesOut { key } => {
            let (vhost, app, stream) = names(key);
            warn!(
                event = "webrtc_leaves_out",
                vhost = &*vhost,
                app = &*app,
                stream = &*stream,
                "{} has B-frames, which WebRTC cannot carry: those that no other picture needs are left out, and \
                 after others all up to the next key frame; set the encoder to none (bf=0, tune zerolatency)",
                key.shown()
            );
        }
        Remark::NoSound { key, because } => {
            let (vhost, app, stream) = names(key);
            let because = because.as_str();
            warn!(
                event = "webrtc_no_sound",
                vhost = &*vhost,
                app = &*app,
                stream = &*stream,
                because,
                "players by WebRTC have no sound of {}: {because}",
                key.shown()
            );
        }
        Remark::LessSound { key, how } => {
            let (vhost, app, stream) = names(key);
            warn!(
                event = "webrtc_less_sound",
                vhost = &*vhost,
                app = &*app,
                stream = &*stream,
                how,
                "the sound of {} {how}",
                key.shown()
            );
        }
        Remark::NoPicture { key, because } => {
            let (vhost, app, stream) = names(key);
            let because = because.as_str();
            warn!(
                event = "webrtc_no_picture",
                vhost = &*vhost,
                app = &*app,
                stream = &*stream,
                because,
                "players by WebRTC have no picture of {}: {because}",
                key.shown()
            );
        }
        Remark::Skipped { pictures, .. } => {
            let Some(conn) = conn else { return };
            info!(
                target: crate::events::MANY,
                event = "webrtc_skipped",
                conn,
                pictures,
                "conn {conn} is slow: it missed {pictures} pictures and goes on at a key frame"
            );
        }
        _ => {}
    }
}

fn names(key: &StreamKey) -> (Cow<'_, str>, Cow<'_, str>, Cow<'_, str>) {
    (shortened(key.vhost()), shortened(key.app()), shortened(key.stream()))
}
