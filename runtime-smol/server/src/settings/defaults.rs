use std::time::Duration;

use anabranch_core::conn::VhostConfig;
use anabranch_core::policy::DEFAULT_WINDOW;

use super::values::{Most, Secret, Size, Time};
use super::vhost::{
    BandwidthCheck, Cache, Limits, OnConflict, Pacing, Play, Publish, Session, Start, Timeouts, TimestampMode,
};

macro_rules! default_from_core {
    ($($section:ty, $core:ident => $value:expr;)*) => {$(
        impl Default for $section {
            /// The core's defaults.
            fn default() -> Self {
                let $core = VhostConfig::default();
                $value
            }
        }
    )*};
}

default_from_core! {
    Session, core => Session {
        chunk_size: core.session.chunk_size,
        ack_window: Size(u64::from(core.session.window)),
        bandwidth_done: core.session.bandwidth_done,
        strict_chunks: false,
    };
    Timeouts, core => {
        let times = core.session.timeouts;
        Timeouts {
            connect: Time(times.connect),
            identify: Time(times.identify),
            first_message: Time(times.first_message),
            next_message: Time(times.next_message),
            write: Time(times.write),
            wait_for_stream: Time(times.wait_for_stream),
            ping: Time(times.ping),
            linger: Time(times.linger),
        }
    };
    Play, core => Play {
        start: Start::NewestKeyFrame,
        start_bytes: Size::UNLIMITED,
        start_time: Time::NEVER,
        start_frames: Most(None),
        start_wait: Time(core.start_limits.wait),
        start_age: Time(Duration::from_millis(core.start_limits.milliseconds.into())),
        timestamps: TimestampMode::Monotonic,
        unpublish_grace: Time(core.unpublish_grace),
        fallback: String::new(),
        max_gap: core.max_gap.map_or(Time::NEVER, Time),
        high_water: Size(core.high_water as u64),
        reduce_sequence_headers: core.reduce_sequence_headers,
        multitrack_to_all: core.multitrack_to_all,
    };
    Pacing, core => Pacing {
        merge_window: Time(core.pacing.merge_window),
        merge_window_max: Time(core.pacing.merge_window_max),
        read_wait: Time(core.pacing.read_wait),
        read_wait_publishers: core.pacing.read_wait_publishers,
    };
    Publish, core => Publish {
        conflict: OnConflict::Reject,
        backup_after: Time(core.backup.after),
        backup_return: core.backup.returns,
        idle: core.idle_publisher.map_or(Time::NEVER, Time),
    };
    Cache, core => Cache {
        bytes: Size(core.source.bytes as u64),
        frames: core.source.frames,
        time: Time(Duration::from_millis(u64::from(core.source.milliseconds))),
        header_bytes: Size(core.source.header_bytes as u64),
        tracks: core.source.tracks,
    };
    Limits, core => {
        let limits = core.limits;
        Limits {
            connections: Most(limits.connections),
            publishers: Most(limits.publishers),
            players: Most(limits.players),
            stream_players: Most(limits.stream_players),
            streams: Most(limits.streams),
            publisher_rate: Size::UNLIMITED,
            publisher_rate_window: Time(DEFAULT_WINDOW),
            questions: Most(limits.questions),
            runs: Most(None),
        }
    };
    BandwidthCheck, core => {
        let check = core.bandwidth_check.unwrap_or_default();
        let key = Secret(check.key);
        BandwidthCheck { enabled: false, key, interval: Time(check.interval), limit_kbps: check.limit_kbps }
    };
}
