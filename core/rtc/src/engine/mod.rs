//! The peers of WebRTC, by `str0m`. Nothing else here knows that crate.

mod layers;
mod ssrcs;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anabranch_core::flv::{AudioCodec, Codec, VideoCodec};
use str0m::bwe::BweKind;
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;
use str0m::format;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{Extension, ExtensionMap, RtpWrite};
use str0m::{Candidate, IceConnectionState, IceCreds, Input, Rtc, RtcConfig};

use crate::desk::Peers;
use crate::peer::{Datagram, Event, Gone, Medium, Network, Output, Packet, Path, Peer, Transport, Unit};
use crate::signal::{self, SignalError};
use layers::Layers;
use ssrcs::Ssrcs;

/// Packets of a track that are kept to be sent again, and for how long. What is sent again may be lost, too, and of a stream with few
/// packets it takes a second until a client notices. Each takes 384 bytes beside its payload, which viewers share.
const KEPT_PACKETS: usize = 210;
const KEPT_TIME: Duration = Duration::from_secs(3);
/// How often the network is told about.
const TELL: Duration = Duration::from_secs(2);

/// The identity of the server towards peers: a certificate, whose fingerprint is in each answer.
#[derive(Clone)]
pub struct Identity {
    certificate: DtlsCert,
    crypto: Arc<CryptoProvider>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The library of the encryption makes none.
    pub fn new() -> Result<Self, SignalError> {
        static CRYPTO: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
        let crypto = CRYPTO.get_or_init(|| Arc::new(str0m::crypto::from_feature_flags())).clone();
        let certificate = crypto.dtls_provider.generate_certificate().ok_or(SignalError::NoCertificate)?;
        Ok(Identity { certificate, crypto })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Where peers reach the server.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// By UDP.
    pub udp: Vec<SocketAddr>,
    /// By TCP.
    pub tcp: Vec<SocketAddr>,
}

/// The name and password of one side of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name, in each first message of the peer: 4 to 256 letters and digits.
    pub name: String,
    /// The password: 22 to 256 letters and digits.
    pub password: String,
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a session is for.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// The peer plays: WHEP. It gets tracks of these codecs.
    Play {
        /// The codec of the pictures.
        video: Option<VideoCodec>,
        /// True if there is sound, which is Opus.
        audio: bool,
    },
    /// The peer publishes: WHIP.
    Publish,
}

/// A peer, and the answer to its offer.
pub struct Accepted {
    /// The peer.
    pub peer: Box<dyn Peer>,
    /// The answer (SDP).
    pub answer: String,
    /// The tracks that both sides have.
    pub media: Vec<Medium>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("media", &self.media).finish_non_exhaustive()
    }
}

/// The peers of a server, which all know it by one [`Identity`].
#[derive(Debug, Clone)]
pub struct Engines(pub Identity);

impl Peers for Engines {
    fn check(&mut self, offer: &str, publishes: bool) -> Result<(), SignalError> {
        // The library takes milliseconds to read an offer: only those of clients that have the right to be answered get there.
        signal::offer::check(offer, publishes)
    }

    fn accept(
        &mut self,
        now: Instant,
        offer: &str,
        purpose: &Purpose,
        credentials: &Credentials,
        candidates: &Candidates,
    ) -> Result<Accepted, SignalError> {
        Engine::accept(now, offer, purpose, &self.0, credentials, candidates)
    }
}

/// A peer of WebRTC.
pub struct Engine {
    rtc: Rtc,
    video: Option<Track>,
    audio: Option<Track>,
    is_over: bool,
    events: VecDeque<Event>,
    layers: Layers,
    ssrcs: Ssrcs,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    mid: Mid,
    pt: Pt,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Engine { video, audio, is_over, .. } = self;
        f.debug_struct("Engine").field("video", video).field("audio", audio).field("is_over", is_over).finish()
    }
}

impl Engine {
    /// Answers the offer of a peer.
    ///
    /// # Errors
    ///
    /// The offer cannot be read, or has nothing that the session is for.
    pub fn accept(
        now: Instant,
        offer: &str,
        purpose: &Purpose,
        identity: &Identity,
        credentials: &Credentials,
        candidates: &Candidates,
    ) -> Result<Accepted, SignalError> {
        // A panic of the library is one peer's end, not the server's.
        catch_unwind(|| Engine::negotiate(now, offer, purpose, identity, credentials, candidates))
            .unwrap_or(Err(SignalError::Bug))
            .map(|(engine, answer, media)| Accepted { peer: Box::new(engine), answer, media })
    }

    fn negotiate(
        now: Instant,
        offer: &str,
        purpose: &Purpose,
        identity: &Identity,
        credentials: &Credentials,
        candidates: &Candidates,
    ) -> Result<(Engine, String, Vec<Medium>), SignalError> {
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| SignalError::BadOffer(error.to_string()))?;
        let mut config = RtcConfig::new()
            .set_crypto_provider(identity.crypto.clone())
            .set_dtls_cert(identity.certificate.clone())
            .set_local_ice_credentials(IceCreds { ufrag: credentials.name.clone(), pass: credentials.password.clone() })
            .set_ice_lite(true)
            .set_stats_interval(Some(TELL))
            .clear_codecs()
            .enable_opus(true, false);
        config = match purpose {
            Purpose::Play { video, audio } => {
                // Without numbers for feedback of each packet (transport-cc): viewers estimate what they can receive, and tell
                // it once a second, where that feedback would be ten messages of each viewer for the server to read, and the
                // memory of a thousand packets. Viewers need the times of sending for that.
                let mut extensions = ExtensionMap::empty();
                extensions.set(2, Extension::AbsoluteSendTime);
                extensions.set(4, Extension::RtpMid);
                let config = config.set_rtp_mode(true).enable_opus(*audio, false).set_extension_map(extensions);
                match video {
                    Some(VideoCodec::Avc) => config.enable_h264(true),
                    Some(VideoCodec::Hevc) => config.enable_h265(true),
                    Some(VideoCodec::Av1) => config.enable_av1(true),
                    Some(VideoCodec::Vp9) => config.enable_vp9(true),
                    _ => config,
                }
            }
            Purpose::Publish => config.enable_h264(true).enable_av1(true).enable_vp9(true).enable_h265(true),
        };
        if matches!(purpose, Purpose::Play { .. }) {
            config.codec_config().iter_mut().for_each(|params| params.set_fb_transport_cc(false));
        }
        let mut rtc = config.build(now);
        for candidate in local_candidates(candidates) {
            rtc.add_local_candidate(candidate.map_err(|error| SignalError::BadCandidate(error.to_string()))?);
        }
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| SignalError::BadOffer(error.to_string()))?;
        let mut engine = Engine {
            rtc,
            video: None,
            audio: None,
            is_over: false,
            events: VecDeque::new(),
            layers: Layers::default(),
            ssrcs: Ssrcs::default(),
        };
        let answer = answer.to_sdp_string();
        // The library tells the addresses with the first medium of the offer, and leaves out one that it cannot read.
        let has_addresses = !candidates.udp.is_empty() || !candidates.tcp.is_empty();
        if has_addresses && !answer.contains("\r\na=candidate:") {
            return Err(SignalError::BadOffer("its first medium is none".to_owned()));
        }
        // The library tells of tracks only once the peer is connected.
        for mid in answer.lines().filter_map(|line| line.strip_prefix("a=mid:")).map(|mid| Mid::from(mid.trim_end())) {
            let Some(media) = engine.rtc.media(mid).filter(|media| !media.disabled()) else { continue };
            let is_ours = match purpose {
                Purpose::Play { .. } => sends(media.direction()),
                Purpose::Publish => receives(media.direction()),
            };
            let kind = media.kind();
            let Some(pt) = engine.payload_type(mid).filter(|_| is_ours) else { continue };
            let of_kind = match kind {
                MediaKind::Video => &mut engine.video,
                MediaKind::Audio => &mut engine.audio,
            };
            if of_kind.replace(Track { mid, pt }).is_some() {
                return Err(SignalError::TooManyTracks);
            }
        }
        let tracks = [(Medium::Video, engine.video), (Medium::Audio, engine.audio)];
        let media: Vec<_> = tracks.into_iter().filter_map(|(medium, track)| track.map(|_| medium)).collect();
        if media.is_empty() {
            return Err(SignalError::NothingInCommon);
        }
        if matches!(purpose, Purpose::Play { .. }) {
            for track in [engine.video, engine.audio].into_iter().flatten() {
                if let Some(stream) = engine.rtc.direct_api().stream_tx_by_mid(track.mid, None) {
                    stream.set_rtx_cache(KEPT_PACKETS, KEPT_TIME, None);
                }
            }
        }
        Ok((engine, answer, media))
    }

    /// The payload type for a track: the first that the peer prefers, of H.264 one with parts of units in packets.
    fn payload_type(&self, mid: Mid) -> Option<Pt> {
        let offered = self.rtc.media(mid)?.remote_pts();
        let params = self.rtc.codec_config().params();
        let of = |pt: &Pt| params.iter().find(|params| params.pt() == *pt);
        let is_possible = |pt: &&Pt| {
            of(pt).is_some_and(|params| {
                let spec = params.spec();
                spec.codec != format::Codec::H264 || spec.format.packetization_mode == Some(1)
            })
        };
        offered.iter().find(is_possible).or_else(|| offered.iter().find(|pt| of(pt).is_some())).copied()
    }

    fn track(&self, medium: Medium) -> Option<Track> {
        match medium {
            Medium::Video => self.video,
            Medium::Audio => self.audio,
        }
    }

    /// Units a second of the times of a track, if it is the one that is reported of: that of the pictures if there is one.
    fn rate_of(&self, mid: Mid) -> Option<u32> {
        let (track, rate) = self.video.map(|video| (video, 90_000)).or(self.audio.map(|audio| (audio, 48_000)))?;
        (track.mid == mid).then_some(rate)
    }

    /// Does something with the library. What fails there ends this peer alone.
    fn attempt(&mut self, act: impl FnOnce(&mut Rtc) -> Result<(), str0m::RtcError>) {
        if self.is_over {
            return;
        }
        let rtc = &mut self.rtc;
        match catch_unwind(AssertUnwindSafe(|| act(rtc))) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.end(Gone::Broken),
            Err(_) => self.end(Gone::Bug),
        }
    }

    fn end(&mut self, why: Gone) {
        if !self.is_over {
            self.is_over = true;
            self.events.push_back(Event::Gone(why));
        }
    }

    fn next(&mut self) -> Option<Output> {
        let rtc = &mut self.rtc;
        let output = match catch_unwind(AssertUnwindSafe(|| rtc.poll_output())) {
            Ok(Ok(output)) => output,
            Ok(Err(_)) => {
                self.end(Gone::Broken);
                return None;
            }
            Err(_) => {
                self.end(Gone::Bug);
                return None;
            }
        };
        match output {
            str0m::Output::Timeout(_) if !self.rtc.is_alive() => {
                self.end(Gone::Left);
                None
            }
            str0m::Output::Timeout(due) => Some(Output::Wait(due)),
            str0m::Output::Transmit(datagram) => {
                let transport = match datagram.proto {
                    Protocol::Udp => Transport::Udp,
                    _ => Transport::Tcp,
                };
                let path = Path { transport, local: datagram.source, remote: datagram.destination };
                Some(Output::Send(Datagram { path, bytes: datagram.contents.into() }))
            }
            str0m::Output::Event(event) => self.event(event).map(Output::Event),
        }
    }

    fn event(&mut self, event: str0m::Event) -> Option<Event> {
        match event {
            str0m::Event::Connected => Some(Event::Connected),
            str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.end(Gone::Silent);
                None
            }
            str0m::Event::Closed => {
                self.end(Gone::Left);
                None
            }
            str0m::Event::KeyframeRequest(_) => Some(Event::WantsKey),
            str0m::Event::MediaData(media) => {
                let is_key = media.is_keyframe();
                let codec = codec(media.params.spec().codec)?;
                let is_audio = matches!(codec, Codec::Audio(_));
                if !is_audio {
                    let is_taken = self.layers.takes(media.network_time, media.rid, media.data.len(), is_key);
                    if self.layers.needs_key() {
                        self.events.push_back(Event::NeedsKey);
                    }
                    if !is_taken {
                        return None;
                    }
                }
                Some(Event::Unit(Unit {
                    codec,
                    is_key: is_key || is_audio,
                    data: media.data,
                    time: media.time.into(),
                    sender_time: media.last_sender_info.and_then(|info| sender_time(media.time, &info)),
                    arrived: media.network_time,
                    is_contiguous: media.contiguous,
                }))
            }
            str0m::Event::MediaEgressStats(stats) => {
                let rate = self.rate_of(stats.mid)?;
                let jitter = stats.remote.map(|remote| remote.jitter);
                Some(Event::Network(Network {
                    round_trip: stats.rtt,
                    jitter: jitter.map(|units| Duration::from_secs(units.into()) / rate),
                    loss: stats.loss,
                    nacks: stats.nacks,
                    keys_wanted: stats.plis + stats.firs,
                    estimate: None,
                }))
            }
            str0m::Event::MediaIngressStats(stats) => {
                let rate = self.rate_of(stats.mid)?;
                Some(Event::Network(Network {
                    round_trip: stats.rtt,
                    jitter: Some(Duration::from_secs(stats.jitter.into()) / rate),
                    loss: stats.loss,
                    nacks: stats.nacks,
                    keys_wanted: stats.plis + stats.firs,
                    estimate: None,
                }))
            }
            str0m::Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => {
                Some(Event::Estimate(estimate.as_u64()))
            }
            _ => None,
        }
    }
}

impl Peer for Engine {
    fn receive(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        if !self.ssrcs.takes(bytes) {
            return;
        }
        let proto = match path.transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
        };
        self.attempt(|rtc| {
            // What cannot be read is for no peer.
            let Ok(receive) = Receive::new(proto, path.remote, path.local, bytes) else { return Ok(()) };
            let input = Input::Receive(now, receive);
            if rtc.accepts(&input) { rtc.handle_input(input) } else { Ok(()) }
        });
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.attempt(|rtc| rtc.handle_input(Input::Timeout(now)));
    }

    fn write(&mut self, _now: Instant, packet: Packet) {
        let Some(track) = self.track(packet.medium) else { return };
        self.attempt(|rtc| {
            let mut api = rtc.direct_api();
            if let Some(stream) = api.stream_tx_by_mid(track.mid, None) {
                let is_video = packet.medium == Medium::Video;
                let write = RtpWrite::new(track.pt, packet.number.into(), packet.time, packet.wall, packet.payload);
                stream.write_rtp(write.marker(packet.marker).nackable(is_video));
            }
            Ok(())
        });
    }

    fn ask_for_key(&mut self, now: Instant) {
        let Some(track) = self.video else { return };
        let layer = self.layers.wanted();
        self.attempt(|rtc| {
            if let Some(mut writer) = rtc.writer(track.mid) {
                // A peer that takes no such request goes on without.
                let _ = writer.request_keyframe(layer, KeyframeRequestKind::Pli);
            }
            rtc.handle_input(Input::Timeout(now))
        });
    }

    fn restart(&mut self, now: Instant, local: &Credentials, remote: &Credentials, candidates: &Candidates) -> bool {
        let of =
            |Credentials { name, password }: &Credentials| IceCreds { ufrag: name.clone(), pass: password.clone() };
        self.attempt(|rtc| {
            let mut api = rtc.direct_api();
            api.set_local_ice_credentials(of(local));
            api.set_remote_ice_credentials(of(remote));
            // Otherwise the pairs of addresses that are known stay preferred for as long as they could be alive.
            for candidate in local_candidates(candidates).flatten() {
                rtc.direct_api().invalidate_candidate(&candidate);
                rtc.add_local_candidate(candidate);
            }
            rtc.handle_input(Input::Timeout(now))
        });
        !self.is_over
    }

    fn close(&mut self, _now: Instant) {
        self.attempt(Rtc::close);
    }

    fn poll(&mut self) -> Output {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if self.is_over {
                return Output::Wait(far_away());
            }
            if let Some(output) = self.next() {
                return output;
            }
        }
    }
}

fn local_candidates(of: &Candidates) -> impl Iterator<Item = Result<Candidate, str0m::error::IceError>> {
    let passive = |address: &SocketAddr| Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
    let udp = of.udp.iter().map(|address| Candidate::host(*address, Protocol::Udp));
    udp.chain(of.tcp.iter().map(passive))
}

/// What is never due: what is over waits for nothing.
fn far_away() -> Instant {
    static FAR: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods)]
    *FAR.get_or_init(|| Instant::now() + Duration::from_secs(1 << 30))
}

/// When a packet of this time was made, by the clock of the sender's reports, of which this is the last one.
fn sender_time(time: MediaTime, report: &SenderInfo) -> Option<Duration> {
    let wall = report.ntp_time.duration_since(UNIX_EPOCH).ok()?;
    // The two are counted on beyond 32 bits independently of each other.
    let ticks = (time.numer() as u32).wrapping_sub(report.rtp_time.numer() as u32).cast_signed();
    let apart = Duration::from_secs_f64(f64::from(ticks.unsigned_abs()) / f64::from(time.denom().max(1)));
    if ticks < 0 { wall.checked_sub(apart) } else { wall.checked_add(apart) }
}

fn codec(codec: format::Codec) -> Option<Codec> {
    Some(match codec {
        format::Codec::H264 => VideoCodec::Avc.into(),
        format::Codec::H265 => VideoCodec::Hevc.into(),
        format::Codec::Av1 => VideoCodec::Av1.into(),
        format::Codec::Vp9 => VideoCodec::Vp9.into(),
        format::Codec::Opus => AudioCodec::Opus.into(),
        _ => return None,
    })
}

fn sends(direction: Direction) -> bool {
    matches!(direction, Direction::SendOnly | Direction::SendRecv)
}

fn receives(direction: Direction) -> bool {
    matches!(direction, Direction::RecvOnly | Direction::SendRecv)
}

#[cfg(test)]
mod tests;
