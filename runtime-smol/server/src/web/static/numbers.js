// Numbers and times as people read them.

import { currentLanguage, t } from './words.js';

export function rate(kbps) {
  return kbps >= 10_000 ? t('mbps', (kbps / 1000).toFixed(1)) : t('kbps', Math.round(kbps));
}

export function size(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function span(seconds) {
  const whole = Math.floor(seconds);
  if (whole >= 86_400) {
    return t('days', Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3600));
  }
  if (whole >= 3600) {
    return t('hours', Math.floor(whole / 3600), Math.floor((whole % 3600) / 60));
  }
  return whole >= 60 ? t('minutes', Math.floor(whole / 60), whole % 60) : t('seconds', whole);
}

export function clock(ms) {
  const time = new Date(ms);
  const isToday = time.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { month: 'short', day: 'numeric' };
  const format = { ...day, hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
  return time.toLocaleString(currentLanguage(), format);
}

export function count(number) {
  return number.toLocaleString(currentLanguage());
}

/** The codec of a picture with profile and level, as the API gives it. */
export function videoWords({ codec, profile, level }) {
  return [codec, profile, level].filter(Boolean).join(' ');
}

export function audioWords({ codec, profile, sample_rate: sampleRate, channel }) {
  const kilohertz = sampleRate ? `${sampleRate / 1000} kHz` : '';
  const channels = ['', 'mono', 'stereo'][channel] ?? `${channel} ch`;
  return [codec, profile, kilohertz, channels].filter(Boolean).join(' ');
}
