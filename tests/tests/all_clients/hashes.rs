use anabranch_tests::program::Process;
use std::fmt::{self, Display};

/// The hash of every packet that FFmpeg found in an input, or of those that it got as a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashes {
    /// Video first, and in the order in which FFmpeg numbers them.
    pub(crate) tracks: Vec<Track>,
}

/// One elementary stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    /// `video` or `audio`.
    pub(crate) kind: String,
    /// FFmpeg's name.
    pub(crate) codec: String,
    /// Length and hash of the codec configuration; empty if there is none.
    pub(crate) configuration: String,
    /// In order.
    pub(crate) packets: Vec<Packet>,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Decoding and presentation time in milliseconds.
    pub(crate) times: [i64; 2],
    /// SHA-256 of the payload.
    pub(crate) hash: String,
}

impl Hashes {
    /// Starts FFmpeg as reader of `input`, which hashes what it reads until that ends.
    pub(crate) fn start(ffmpeg: &str, input: &str) -> Process {
        let before = ["-nostdin", "-loglevel", "warning", "-copyts", "-i", input, "-map", "0:v?", "-map", "0:a?"];
        let after = ["-c", "copy", "-flush_packets", "1", "-f", "framehash", "-hash", "sha256", "-"];
        Process::start(ffmpeg, before.iter().chain(&after))
    }

    /// What FFmpeg finds in a file.
    pub(crate) fn of_file(ffmpeg: &str, file: impl Display) -> Self {
        let process = Hashes::start(ffmpeg, &file.to_string());
        process.wait_success(anabranch_tests::TIMEOUT);
        Hashes::parse(&process)
    }

    /// The pictures and samples that FFmpeg decodes from a file, each as a packet.
    pub(crate) fn of_decoded_file(ffmpeg: &str, file: impl Display) -> Self {
        let file = file.to_string();
        let line =
            ["-nostdin", "-loglevel", "warning", "-i", &file, "-fps_mode", "passthrough", "-f", "framehash", "-"];
        let process = Process::start(ffmpeg, line);
        process.wait_success(anabranch_tests::TIMEOUT);
        assert_eq!(process.stderr(), [""; 0], "decoding {file}");
        Hashes::parse(&process)
    }

    /// What a process from [`Hashes::start`] has read so far.
    pub(crate) fn parse(process: &Process) -> Self {
        let lines = process.stdout();
        let property = |name: &str, index: usize| {
            let start = format!("#{name} {index}: ");
            let found = lines.iter().find_map(|line| line.strip_prefix(&start));
            found.map(|value| value.trim().replace(' ', ""))
        };
        let mut tracks: Vec<Track> = (0..)
            .map_while(|index| {
                Some(Track {
                    kind: property("media_type", index)?,
                    codec: property("codec_id", index)?,
                    // The name is followed by a comma here.
                    configuration: lines
                        .iter()
                        .find_map(|line| line.strip_prefix(&format!("#extradata {index},")))
                        .map_or_else(String::new, |value| value.replace(' ', "")),
                    packets: Vec::new(),
                })
            })
            .collect();
        for line in lines.iter().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            // Stream, decoding time, presentation time, duration, size, hash, and side data if there is any.
            let [index, dts, pts, _, _, hash, ..] = fields[..] else {
                panic!("{line:?} is no packet");
            };
            let time = |field: &str| field.parse().unwrap_or_else(|_| panic!("{line:?} has no time"));
            let packet = Packet { times: [time(dts), time(pts)], hash: hash.to_owned() };
            tracks[index.parse::<usize>().expect("a stream has a number")].packets.push(packet);
        }
        tracks.sort_by_key(|track| track.kind != "video");
        Hashes { tracks }
    }

    /// The tracks of one kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.kind == kind)
    }

    /// What is left for players that do not understand multitrack messages.
    pub(crate) fn first_tracks(&self) -> Self {
        let firsts = ["video", "audio"].map(|kind| self.of_kind(kind).next().cloned());
        Hashes { tracks: firsts.into_iter().flatten().collect() }
    }

    /// Checks that the other, a player that was there before, has exactly the same packets with the same times and
    /// configurations. Only what came before the first key frame it need not have, for players may begin there.
    ///
    /// # Panics
    /// At the first difference.
    pub(crate) fn assert_same(&self, received: &Hashes) {
        self.assert_same_shape(received);
        let key_frame = self.tracks[0].packets[0].times[0];
        for (sent, received) in self.tracks.iter().zip(&received.tracks) {
            let early = sent.packets.iter().take_while(|packet| packet.times[0] < key_frame).count();
            let skipped = sent.packets.len().saturating_sub(received.packets.len()).min(early);
            let sent_packets = &sent.packets[skipped..];
            for index in 0..sent_packets.len().max(received.packets.len()) {
                let (sent_packet, packet) = (sent_packets.get(index), received.packets.get(index));
                assert_eq!(packet, sent_packet, "packet {index} of {sent}");
            }
        }
    }

    /// Checks that a player that came late has every track with its configuration, and of each track every packet from
    /// somewhere to the end.
    ///
    /// # Panics
    /// At the first difference.
    pub(crate) fn assert_ends_with(&self, received: &Hashes) {
        self.assert_same_shape(received);
        for (sent, received) in self.tracks.iter().zip(&received.tracks) {
            let skipped = sent.packets.len().checked_sub(received.packets.len());
            let skipped = skipped.unwrap_or_else(|| panic!("more packets than were sent of {sent}"));
            assert!(skipped > 0, "the player did not come late for {sent}");
            assert!(!received.packets.is_empty(), "no packets of {sent}");
            assert_eq!(received.packets, sent.packets[skipped..], "{sent}");
        }
    }

    fn assert_same_shape(&self, received: &Hashes) {
        let shape = |hashes: &Hashes| -> Vec<String> {
            hashes.tracks.iter().map(|track| format!("{track}, {}", track.configuration)).collect()
        };
        assert_eq!(shape(received), shape(self), "tracks and configurations");
        assert!(!self.tracks.is_empty());
    }
}

impl Track {
    /// Checks that two programs that each got a part of this track got the same where the parts overlap, whatever they
    /// did to the times. The first packet of each part may have more in front: OBS puts x264's user data there.
    ///
    /// # Panics
    /// If not, or if they have less than `least` packets in common.
    pub(crate) fn assert_overlaps(&self, other: &Track, least: usize) {
        let mut parts = [self, other]
            .map(|track| track.packets.iter().skip(1).map(|packet| packet.hash.as_str()).collect::<Vec<_>>());
        // The one that began later begins somewhere in the other.
        for (later, earlier) in [(0, 1), (1, 0)] {
            let first = parts[later].first().copied();
            if let Some(start) = parts[earlier].iter().position(|hash| Some(*hash) == first) {
                parts[earlier].drain(..start);
                break;
            }
        }
        let common = parts[0].len().min(parts[1].len());
        let same = parts[0].iter().zip(&parts[1]).take_while(|(one, other)| one == other).count();
        assert_eq!(same, common, "the same packets of {self}, of those that both should have");
        assert!(common >= least, "{common} packets of {self} in common");
    }
}

impl Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.codec)
    }
}
