//! The sound of the recordings, and how near other sound is to it.

use std::f64::consts::TAU;

/// The sound of the recordings at a time in seconds, for each channel. It began at 0 and ended at 1.
pub(super) fn recorded(channel: usize, t: f64) -> f64 {
    if !(0.0..1.0).contains(&t) {
        return 0.0;
    }
    match channel {
        0 => 0.5 * (TAU * (200.0 * t + 1900.0 * t * t)).sin(),
        _ => 0.4 * (TAU * (300.0 * t + 1000.0 * t * t)).sin() + 0.1 * (TAU * 5000.0 * t).sin(),
    }
}

/// The ratio of signal to noise in decibels, where noise is what differs from the signal.
pub(super) fn signal_to_noise(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (signal, noise) = pairs.fold((0.0, 1e-12), |(signal, noise), (wanted, found)| {
        (signal + wanted * wanted, noise + (wanted - found) * (wanted - found))
    });
    10.0 * f64::log10(signal / noise)
}
