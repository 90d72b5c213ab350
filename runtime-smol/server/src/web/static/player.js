// Plays a live stream of the server in a video element: fragmented MP4, from a WebSocket or from a request without end,
// into a SourceBuffer. Where a browser has no Media Source Extensions, the element plays HLS itself. By WebRTC it plays
// what the connection gives it; where no packets come through, it goes on by WebSocket.
//
// The state is one of `idle`, `connecting`, `playing`, `waiting` (for data, or for a publisher), `refused`,
// `unsupported`. Each change is an event `state`; `stats()` may be asked at any time.

import { Boxes, isInit, mask, runsOf, tracksOf } from './mp4.js';
import { Viewing } from './webrtc.js';

/**
 * Seconds of media that the player wants to have left just before more comes; on the average it has half the time
 * between two fragments more. Chromium stalls with less than 0.05 s of pictures, and with 0.11 s of sound if it plays
 * faster, muted or not: it has taken out what waits for the sound card, and stretches what comes then.
 */
const LEAST_AHEAD = 0.07;
const LEAST_WITH_SOUND = 0.13;
/** A stall with more than this is none for want of media. */
const PLENTY = 0.3;
/** After stalls it wants up to so much. */
const MOST_AHEAD = 1;
/** By how much that rises at a stall, and falls after a calm time. */
const RISE = 0.03;
const FALL = 0.02;
/** The least that was left is that of the last so many milliseconds, twice. */
const WINDOW = 500;
/** What it may have left more than it wants, in seconds, before it plays faster: as much as it is too far behind. */
const TOLERANCE = 0.015;
const FASTEST = 1.1;
/** With less left than this part of what it wants it plays slower, so as not to stall: clocks of encoders differ. */
const SCARCE = 0.3;
const SLOWER = 0.97;
/**
 * With so many seconds left more than it wants it skips; with so many once after it has begun or stalled, as browsers
 * begin late.
 */
const SKIP = 1;
const SKIP_FIRST = 0.3;
/** Seconds that have been shown and are kept, and how many more may pile up before they are removed. */
const KEPT = 10;
const SLACK = 10;
/** Milliseconds between attempts. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** A connection without data for so long is given up. */
const SILENCE = 15_000;
/** Milliseconds without a stall after which the player wants less media before it. */
const CALM = 10_000;
/** A medium of which nothing comes for so many milliseconds is left out, so that the other one can be played. */
const MISSING = 2_000;
/** It is left out for CALM the first time, and each time twice as long, but not longer than so many milliseconds. */
const LONGEST_LEFT_OUT = 600_000;
/** After so many connections that the browser could not play it takes the stream for one that it cannot. */
const MOST_FAILURES = 3;
/** The same for HLS by the browser: Chromium refuses playlists of fewer than three segments. */
const MOST_FAILURES_OF_LISTS = 30;
/** Bytes that may wait for the SourceBuffer. */
const MOST_QUEUED = 32 << 20;

export const FORMS = ['websocket', 'http', 'hls', 'webrtc'];
/** Answers to an offer after which another form may still play the stream. */
const OTHER_FORM = [400, 405, 406, 415, 422, 501];

const Source = globalThis.MediaSource ?? globalThis.ManagedMediaSource;

/** The forms that this browser can play. */
export function formsHere(video) {
  const hls = video.canPlayType('application/vnd.apple.mpegurl') !== '';
  const rtc = globalThis.RTCPeerConnection !== undefined;
  return FORMS.filter((form) => ({ hls, webrtc: rtc }[form] ?? Source !== undefined));
}

/**
 * The address of a stream: of `live/cam` with the suffix `.mp4`, on the server of this page or on `base`.
 * Names of streams may have any character.
 */
export function mediaAddress(key, suffix, base, parameters) {
  const [name, query] = key.split(/\?(.*)/s);
  const path = name.split('/').map(encodeURIComponent).join('/');
  const address = new URL(`/${path}${suffix}`, base ?? location.href);
  for (const [field, value] of [...new URLSearchParams(query ?? ''), ...new URLSearchParams(parameters ?? '')]) {
    address.searchParams.set(field, value);
  }
  return address;
}

/** The media type of these tracks. */
function typeOf(tracks) {
  return `video/mp4; codecs="${tracks.map(({ codec }) => codec).join(', ')}"`;
}

export class Player extends EventTarget {
  #video;
  #address;
  #form;
  #forms;
  #state = 'idle';
  #words = '';
  #source = null;
  #buffer = null;
  #type = '';
  #queue = [];
  #queued = 0;
  #connection = null;
  #retry = 0;
  #pause = FIRST_PAUSE;
  #clock = 0;
  #heard = 0;
  #failures = 0;
  #ahead = LEAST_WITH_SOUND;
  #leastAhead = LEAST_WITH_SOUND;
  #least = { since: 0, before: Infinity, now: Infinity };
  /** The tracks of the init segment, those of them that are left out, and when each was there last. */
  #tracks = [];
  #masked = new Set();
  #seen = new Map();
  #attached = 0;
  /** Kinds of media that have not come, and since when; and for how long each is left out at least. */
  #silent = new Map();
  #leftOut = new Map();
  #stalledSince = 0;
  #calmSince = 0;
  #placed = false;
  #isFresh = true;
  #paused = false;
  /** Seconds that the browser keeps back by WebRTC. */
  #kept = 0;
  #counts = { bytes: 0, stalls: 0, skips: 0, connections: 0 };

  /**
   * @param video the element
   * @param address a function from a suffix (`.mp4`, `.m3u8`) to a URL
   * @param form one of FORMS; by default the first that this browser can play
   */
  constructor(video, address, form) {
    super();
    this.#video = video;
    this.#address = address;
    this.#forms = formsHere(video);
    this.#form = this.#forms.includes(form) ? form : this.#forms[0];
    video.muted = true;
    video.playsInline = true;
    video.disableRemotePlayback = true;
    this.#on(video, 'waiting', () => this.#stalled());
    this.#on(video, 'playing', () => this.#plays());
    this.#on(video, 'error', () => this.#failed());
    this.#on(document, 'visibilitychange', () => document.hidden || this.#steer());
  }

  #listeners = [];

  #on(target, event, listener) {
    target.addEventListener(event, listener);
    this.#listeners.push([target, event, listener]);
  }

  get state() {
    return this.#state;
  }

  /** Why it is in this state; a code of the page's words, or empty. */
  get words() {
    return this.#words;
  }

  get form() {
    return this.#form;
  }

  start() {
    if (this.#form === undefined) {
      this.#become('unsupported', 'no_mse');
      return;
    }
    this.#paused = false;
    this.#pause = FIRST_PAUSE;
    this.#failures = 0;
    this.#open();
    this.#clock = setInterval(() => this.#tick(), 100);
  }

  /** Stops, and leaves the last picture in the element. */
  pause() {
    this.#paused = true;
    clearInterval(this.#clock);
    this.#close();
    this.#video.pause();
    this.#become('idle');
  }

  /** Stops for good. */
  stop() {
    this.pause();
    this.#detach();
    this.#listeners.forEach(([target, event, listener]) => target.removeEventListener(event, listener));
  }

  stats() {
    const video = this.#video;
    const quality = video.getVideoPlaybackQuality?.() ?? {};
    return {
      form: this.#form,
      type: this.#type,
      width: video.videoWidth,
      height: video.videoHeight,
      frames: quality.totalVideoFrames ?? 0,
      dropped: quality.droppedVideoFrames ?? 0,
      ahead: this.#form === 'webrtc' ? this.#kept : this.#end() - video.currentTime || 0,
      wanted: this.#form === 'webrtc' ? 0 : this.#ahead,
      rate: video.playbackRate,
      ...this.#counts,
    };
  }

  #become(state, words = '') {
    if (state === this.#state && words === this.#words) {
      return;
    }
    this.#state = state;
    this.#words = words;
    this.dispatchEvent(new Event('state'));
  }

  // The connection.

  #open() {
    this.#close();
    if (this.#state !== 'waiting') {
      this.#become('connecting');
    }
    this.#heard = performance.now();
    this.#counts.connections += 1;
    if (this.#form === 'hls') {
      this.#detach();
      this.#video.src = this.#address('.m3u8');
      this.#show();
      return;
    }
    if (this.#form === 'webrtc') {
      this.#openViewing();
      return;
    }
    this.#connection = this.#form === 'websocket' ? this.#openSocket() : this.#openRequest();
  }

  #openViewing() {
    const connection = { hasData: false, close: () => viewing.close() };
    const isOurs = () => this.#connection === connection;
    const viewing = new Viewing(this.#address('/whep'), {
      connected: () => {
        if (isOurs()) {
          connection.hasData = true;
          this.#heard = performance.now();
          this.#detach();
          this.#video.srcObject = viewing.media;
          this.#show();
        }
      },
      seen: ({ bytes, freezes, codecs, kept }) => {
        if (isOurs()) {
          this.#heard = bytes > 0 ? performance.now() : this.#heard;
          this.#counts.bytes += bytes;
          this.#counts.stalls += freezes;
          [this.#type, this.#kept] = [`"${codecs}"`, kept];
        }
      },
      gone: ({ status, why }) => {
        const other = this.#forms.find((form) => form !== 'webrtc');
        if (!isOurs()) {
          return;
        }
        const isOther = status === undefined ? why !== 'lost' : OTHER_FORM.includes(status);
        if (other !== undefined && isOther) {
          this.#form = other;
          this.#open();
        } else if (status === undefined) {
          this.#ended();
        } else {
          this.#refused(status);
        }
      },
    });
    this.#connection = connection;
  }

  #openSocket() {
    const address = new URL(this.#address('.mp4'));
    address.protocol = address.protocol.replace('http', 'ws');
    const socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    const boxes = new Boxes();
    const connection = { hasData: false, close: () => socket.close() };
    const isOurs = () => this.#connection === connection;
    socket.onmessage = ({ data }) => isOurs() && this.#receive(connection, boxes, new Uint8Array(data));
    // A WebSocket that is refused does not say why, and a proxy in between may not let any through. A request says it.
    socket.onclose = () => {
      if (isOurs() && connection.hasData) {
        this.#ended();
      } else if (isOurs()) {
        this.#connection = this.#openRequest();
      }
    };
    return connection;
  }

  #openRequest() {
    const abort = new AbortController();
    const connection = { hasData: false, close: () => abort.abort() };
    this.#read(connection, abort.signal);
    return connection;
  }

  async #read(connection, signal) {
    // Never before the connection is the one that counts.
    await null;
    const isOurs = () => this.#connection === connection;
    try {
      const answer = await fetch(this.#address('.mp4'), { signal, cache: 'no-store' });
      if (!answer.ok) {
        return isOurs() && this.#refused(answer.status);
      }
      if (isOurs()) {
        this.#form = 'http';
      }
      const boxes = new Boxes();
      for (const reader = answer.body.getReader(); isOurs(); ) {
        const { value, done } = await reader.read();
        if (done) {
          break;
        }
        if (isOurs()) {
          this.#receive(connection, boxes, value);
        }
      }
    } catch {
      // As at an end, or as if there were no server.
    }
    return isOurs() && (connection.hasData ? this.#ended() : this.#refused(0));
  }

  #close() {
    clearTimeout(this.#retry);
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
    this.#queue = [];
    this.#queued = 0;
  }

  #refused(status) {
    if (status === 401 || status === 403) {
      this.#close();
      clearInterval(this.#clock);
      this.#become('refused', 'not_allowed');
      return;
    }
    // No form of MP4 has the codecs of the stream.
    if (status === 406) {
      this.#giveUp();
      return;
    }
    const words = { 0: 'no_answer', 404: 'not_live', 503: 'server_full' }[status] ?? 'failed';
    this.#become('waiting', words);
    this.#again();
  }

  #ended() {
    this.#become('waiting', 'ended');
    this.#again();
  }

  /** The browser could not play what came. It may be able to from another key frame on. */
  #broken() {
    this.#failures += 1;
    if (this.#failures >= (this.#form === 'hls' ? MOST_FAILURES_OF_LISTS : MOST_FAILURES)) {
      this.#giveUp();
    } else {
      this.#ended();
    }
  }

  #again() {
    this.#close();
    if (this.#paused) {
      return;
    }
    // Many players must not come back at the same moment.
    const pause = this.#pause * (0.75 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    this.#retry = setTimeout(() => this.#open(), pause);
  }

  // What came.

  #receive(connection, boxes, bytes) {
    if (!connection.hasData) {
      // Until now the element shows the last picture of the connection before.
      connection.hasData = true;
      this.#attach();
    }
    this.#heard = performance.now();
    this.#counts.bytes += bytes.length;
    let whole;
    try {
      whole = boxes.push(bytes);
    } catch {
      this.#ended();
      return;
    }
    for (const piece of whole) {
      this.#queue.push(piece);
      this.#queued += piece.length;
    }
    if (this.#queued > MOST_QUEUED) {
      this.#ended();
      return;
    }
    this.#feed();
  }

  #attach() {
    this.#detach();
    const source = new Source();
    this.#source = source;
    this.#attached = performance.now();
    this.#place();
    const url = URL.createObjectURL(source);
    source.addEventListener('sourceopen', () => {
      URL.revokeObjectURL(url);
      this.#feed();
    });
    this.#video.src = url;
  }

  #detach() {
    if (this.#video.hasAttribute('src')) {
      this.#video.removeAttribute('src');
      this.#video.load();
    }
    this.#video.srcObject = null;
    this.#source = null;
    this.#buffer = null;
    this.#type = '';
    this.#tracks = [];
    this.#seen.clear();
  }

  /** The next data goes to a new place on the element's clock. */
  #place() {
    [this.#placed, this.#isFresh] = [false, true];
    this.#stalledSince = 0;
    this.#calmSince = performance.now();
    this.#forget();
  }

  #feed() {
    const source = this.#source;
    if (source?.readyState !== 'open' || this.#buffer?.updating) {
      return;
    }
    const piece = this.#queue[0];
    if (piece === undefined) {
      return;
    }
    try {
      if (isInit(piece) && !this.#prepare(source, piece)) {
        return;
      }
      if (this.#buffer === null) {
        // Fragments before an init segment mean nothing.
        this.#drop(piece);
        this.#feed();
        return;
      }
      if (!isInit(piece)) {
        this.#look(piece);
        this.#note();
      }
      this.#buffer.appendBuffer(piece);
      this.#drop(piece);
    } catch (error) {
      if (error.name === 'QuotaExceededError' && this.#trim(1)) {
        return;
      }
      this.#broken();
    }
  }

  #drop(piece) {
    this.#queue.shift();
    this.#queued -= piece.length;
  }

  /** Makes the SourceBuffer ready for a new init segment: an encoder may change its codecs at any time. */
  #prepare(source, init) {
    const tracks = tracksOf(init);
    const canPlay = (some) => some.length > 0 && Source.isTypeSupported(typeOf(some));
    // Pictures are shown without a sound that the browser cannot play, not the other way round.
    const known = tracks.filter((track) => track.isPicture || canPlay([track]));
    const there = known.filter((track) => !this.#silent.has(track.isPicture));
    const played = there.length > 0 ? there : known;
    const type = typeOf(played);
    if (!canPlay(played)) {
      this.#giveUp();
      this.#type = type;
      return false;
    }
    this.#tracks = tracks;
    this.#masked = new Set(tracks.filter((track) => !played.includes(track)).map((track) => track.id));
    mask(init, this.#masked);
    this.#leastAhead = played.every((track) => track.isPicture) ? LEAST_AHEAD : LEAST_WITH_SOUND;
    this.#ahead = Math.max(this.#ahead, this.#leastAhead);
    if (this.#buffer === null) {
      this.#buffer = source.addSourceBuffer(type);
      this.#buffer.addEventListener('updateend', () => {
        this.#feed();
        this.#steer();
      });
      source.duration = Infinity;
    } else if (type !== this.#type) {
      this.#buffer.changeType(type);
    }
    this.#type = type;
    return true;
  }

  /** Notes of which tracks there is something in a fragment, and takes out those that are left out. */
  #look(piece) {
    const now = performance.now();
    for (const { id } of runsOf(piece)) {
      this.#seen.set(id, now);
    }
    if (this.#masked.size > 0) {
      mask(piece, this.#masked);
    }
  }

  /** Connects again without a medium that does not come, or with one that comes after all. */
  #revise() {
    const now = performance.now();
    const age = ({ id }) => now - (this.#seen.get(id) ?? this.#attached);
    const isStuck = !this.#placed || this.#stalledSince > 0;
    const isOther = (track) => this.#tracks.some((other) => other !== track && age(other) < MISSING / 2);
    // Pictures that came once may be rare.
    const isRare = (track) => track.isPicture && this.#seen.has(track.id);
    const isMissing = (track) => age(track) > MISSING && !isRare(track) && isOther(track);
    if (!this.#connection?.hasData) {
      return false;
    }
    let isNew = false;
    for (const track of this.#tracks) {
      const since = this.#silent.get(track.isPicture);
      const leftOut = this.#leftOut.get(track.isPicture) ?? CALM / 2;
      if (since === undefined && isStuck && !this.#masked.has(track.id) && isMissing(track)) {
        this.#silent.set(track.isPicture, now);
        // Sound may come now and then only: each attempt to play it is a break.
        this.#leftOut.set(track.isPicture, Math.min(leftOut * 2, LONGEST_LEFT_OUT));
        isNew = true;
      } else if (since !== undefined && age(track) < MISSING / 2 && this.#seen.has(track.id) && now - since > leftOut) {
        this.#silent.delete(track.isPicture);
        isNew = true;
      }
    }
    if (isNew) {
      this.#open();
    }
    return isNew;
  }

  #giveUp() {
    this.#close();
    clearInterval(this.#clock);
    this.#become('unsupported', 'codec');
  }

  // Time.

  #ranges() {
    // An element without source, and a buffer whose source is gone, have none.
    try {
      return this.#buffer?.buffered ?? this.#video.buffered;
    } catch {
      return this.#video.buffered;
    }
  }

  #end() {
    const ranges = this.#ranges();
    return ranges.length ? ranges.end(ranges.length - 1) : NaN;
  }

  #show() {
    const promise = this.#video.play();
    promise?.catch(() => {
      // Browsers may refuse sound, never a muted element; and a play() that a new source ends is none.
    });
  }

  #plays() {
    this.#pause = FIRST_PAUSE;
    this.#become('playing');
    if (this.#isFresh) {
      // What was left while it stood says nothing.
      this.#forget();
    }
  }

  #stalled() {
    if (this.#placed && this.#state === 'playing' && !this.#stalledSince && !this.#video.seeking) {
      this.#stalledSince = performance.now();
      this.#counts.stalls += 1;
      this.#isFresh = true;
      // If there is data, the browser is too slow, and more of it would not help.
      if (this.#end() - this.#video.currentTime < PLENTY) {
        this.#calmSince = this.#stalledSince;
        this.#ahead = Math.min(this.#ahead + RISE, MOST_AHEAD);
      }
    }
  }

  #failed() {
    if (this.#form === 'hls') {
      this.#askWhy();
    } else if (this.#source) {
      this.#broken();
    }
  }

  /** An element does not say whether there is no playlist, or one that it cannot play. */
  async #askWhy() {
    const connection = { hasData: false, close: () => {} };
    this.#connection = connection;
    let status = 0;
    try {
      ({ status } = await fetch(this.#address('.m3u8'), { method: 'HEAD', cache: 'no-store' }));
    } catch {
      // There is no server.
    }
    if (this.#connection !== connection) {
      return;
    }
    if (status === 200) {
      this.#broken();
    } else {
      this.#refused(status);
    }
  }

  #tick() {
    if (this.#connection?.hasData && performance.now() - this.#heard > SILENCE) {
      this.#ended();
      return;
    }
    // After a calm time it dares to be closer again.
    if (performance.now() - this.#calmSince > CALM && this.#state === 'playing') {
      this.#ahead = Math.max(this.#ahead - FALL, this.#leastAhead);
      this.#calmSince = performance.now();
      this.#failures = 0;
    }
    if (this.#revise()) {
      return;
    }
    this.#note();
    this.#pace();
    this.#steer();
  }

  /** Notes how much is left. It is least just before more is appended, and what ends later than it lasts is no more. */
  #note() {
    const left = this.#end() - this.#video.currentTime;
    if (!this.#placed || Number.isNaN(left)) {
      return;
    }
    const least = this.#least;
    const now = performance.now();
    if (now - least.since > WINDOW) {
      [least.since, least.before, least.now] = [now, least.now, Infinity];
    }
    least.now = Math.min(least.now, left);
  }

  /** The least that was left lately; infinity if it is not known. */
  #left() {
    return Math.min(this.#least.before, this.#least.now);
  }

  /** What was noted does not hold any more. */
  #forget() {
    this.#least = { since: performance.now(), before: Infinity, now: Infinity };
  }

  /**
   * Plays so that what it wants is left at the least moment of each second. Going by that moment, it is as close to the
   * live end as the path is even, and follows an encoder whose clock is a little faster or slower.
   */
  #pace() {
    const left = this.#left();
    let rate = 1;
    if (this.#placed && !this.#stalledSince && Number.isFinite(left)) {
      const excess = left - this.#ahead;
      if (excess > TOLERANCE) {
        rate = Math.min(1 + excess, FASTEST);
      } else if (left < this.#ahead * SCARCE) {
        rate = SLOWER;
      }
    }
    rate = Math.round(rate * 100) / 100;
    if (this.#form !== 'hls' && this.#video.playbackRate !== rate) {
      this.#video.playbackRate = rate;
    }
  }

  /** Starts at the live end, follows it, skips what is missing, and removes what was shown. */
  #steer() {
    const video = this.#video;
    const ranges = this.#ranges();
    if (this.#form === 'hls' || ranges.length === 0 || this.#buffer === null || this.#paused) {
      return;
    }
    const last = ranges.length - 1;
    const [start, end] = [ranges.start(last), ranges.end(last)];
    if (!this.#placed) {
      // The stream begins at its newest key frame, which may be seconds old: the element decodes from there.
      video.currentTime = Math.max(start, end - this.#ahead);
      this.#placed = true;
      this.#show();
      return;
    }
    const now = video.currentTime;
    const ahead = end - now;
    // What comes after a gap, or on an earlier clock, is not where the element is.
    const isBeforeGap = this.#stalledSince > 0 && now < start;
    const isLost = now > end + 0.5 || isBeforeGap || (now < end - 0.05 && !this.#isIn(ranges, now));
    // Until the first window is over what is left is not known.
    const isKnown = Number.isFinite(this.#least.before) && !this.#stalledSince;
    const excess = isKnown ? this.#left() - this.#ahead : 0;
    if (isLost || excess > (this.#isFresh ? SKIP_FIRST : SKIP)) {
      this.#counts.skips += 1;
      video.currentTime = Math.max(start, end - this.#ahead);
      this.#forget();
    }
    if (isKnown) {
      this.#isFresh = false;
    }
    if (video.paused && !video.ended) {
      this.#show();
    }
    if (this.#stalledSince && ahead >= this.#ahead / 2 && video.readyState >= 3) {
      this.#stalledSince = 0;
    }
    if (now - ranges.start(0) > KEPT + SLACK) {
      this.#trim(KEPT);
    }
  }

  #isIn(ranges, time) {
    for (let index = 0; index < ranges.length; index += 1) {
      if (time >= ranges.start(index) && time < ranges.end(index) - 0.05) {
        return true;
      }
    }
    return false;
  }

  /** Removes what was shown more than `kept` seconds ago. */
  #trim(kept) {
    const ranges = this.#ranges();
    const until = this.#video.currentTime - kept;
    if (this.#buffer?.updating || ranges.length === 0 || until <= ranges.start(0)) {
      return false;
    }
    this.#buffer.remove(0, until);
    return true;
  }
}
