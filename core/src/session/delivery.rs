use std::fmt;

use crate::http::{Container, Framing};

/// How a client gets what it plays, or sends what it publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Delivery {
    /// By RTMP.
    #[default]
    Rtmp,
    /// As FLV, in the answer to a request by HTTP.
    HttpFlv,
    /// As FLV, in messages of a WebSocket.
    WebSocketFlv,
    /// As fragmented MP4, in the answer to a request by HTTP.
    HttpMp4,
    /// As fragmented MP4, in messages of a WebSocket.
    WebSocketMp4,
    /// As segments of HTTP Live Streaming.
    Hls,
    /// As segments of MPEG-DASH.
    Dash,
    /// By WebRTC.
    WebRtc,
}

impl Delivery {
    /// All forms.
    pub const ALL: [Delivery; 8] = [
        Delivery::Rtmp,
        Delivery::HttpFlv,
        Delivery::WebSocketFlv,
        Delivery::HttpMp4,
        Delivery::WebSocketMp4,
        Delivery::Hls,
        Delivery::Dash,
        Delivery::WebRtc,
    ];

    /// How a stream is got in this form. Playlists have no framing.
    pub fn of(container: Container, framing: Framing) -> Self {
        match (container, framing) {
            (Container::Flv, Framing::Messages) => Delivery::WebSocketFlv,
            (Container::Flv, _) => Delivery::HttpFlv,
            (Container::Mp4, Framing::Messages) => Delivery::WebSocketMp4,
            (Container::Mp4, _) => Delivery::HttpMp4,
            (Container::Hls, _) => Delivery::Hls,
            (Container::Dash, _) => Delivery::Dash,
        }
    }

    /// True if the client asks for segments, one after the other.
    pub(crate) fn is_segmented(self) -> bool {
        matches!(self, Delivery::Hls | Delivery::Dash)
    }

    /// The name in the log, the API and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::Rtmp => "rtmp",
            Delivery::HttpFlv => "http-flv",
            Delivery::WebSocketFlv => "ws-flv",
            Delivery::HttpMp4 => "http-mp4",
            Delivery::WebSocketMp4 => "ws-mp4",
            Delivery::Hls => "hls",
            Delivery::Dash => "dash",
            Delivery::WebRtc => "webrtc",
        }
    }

    /// The type of a client that plays, as SRS names it.
    pub fn kind(self) -> &'static str {
        match self {
            Delivery::Rtmp => "rtmp-play",
            Delivery::HttpFlv | Delivery::WebSocketFlv => "flv-play",
            Delivery::HttpMp4 | Delivery::WebSocketMp4 => "mp4-play",
            Delivery::Hls => "hls-play",
            Delivery::Dash => "dash-play",
            Delivery::WebRtc => "rtc-play",
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
