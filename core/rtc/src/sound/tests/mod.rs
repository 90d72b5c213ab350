mod conversion;
mod signal;
mod times;

/// Recorded sound: the configuration of an ADTS stream, and its frames. `fixtures/README.md` says where it comes from.
struct Recording {
    config: [u8; 2],
    rate: u32,
    frames: Vec<Vec<u8>>,
}

impl Recording {
    fn read(mut bytes: &[u8]) -> Self {
        const RATES: [u32; 13] =
            [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
        let (profile, rate) = (u16::from(bytes[2] >> 6), bytes[2] >> 2 & 0xF);
        let channels = u16::from(bytes[2] & 1) << 2 | u16::from(bytes[3] >> 6);
        let config = ((profile + 1) << 11 | u16::from(rate) << 7 | channels << 3).to_be_bytes();
        let mut frames = Vec::new();
        while let &[0xFF, second, _, third, fourth, fifth, ..] = bytes {
            let length = usize::from(third & 3) << 11 | usize::from(fourth) << 3 | usize::from(fifth >> 5);
            let header = if second & 1 == 1 { 7 } else { 9 };
            frames.push(bytes[header..length].to_vec());
            bytes = &bytes[length..];
        }
        Self { config, rate: RATES[usize::from(rate)], frames }
    }

    /// The presentation time of a frame. The first one is before the recorded sound, and at 1 s here.
    fn time(&self, frame: usize) -> std::time::Duration {
        let samples = frame as u64 * 1024 + u64::from(self.rate);
        std::time::Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.rate))
    }

    fn lc_48000_stereo() -> Self {
        Self::read(include_bytes!("../fixtures/lc-48000-stereo.aac"))
    }

    fn lc_44100_stereo() -> Self {
        Self::read(include_bytes!("../fixtures/lc-44100-stereo.aac"))
    }

    fn lc_24000_mono() -> Self {
        Self::read(include_bytes!("../fixtures/lc-24000-mono.aac"))
    }

    fn he_48000_stereo() -> Self {
        Self::read(include_bytes!("../fixtures/he-48000-stereo.aac"))
    }

    fn he_v2_48000_stereo() -> Self {
        Self::read(include_bytes!("../fixtures/he-v2-48000-stereo.aac"))
    }
}
