// Plays a live stream of the server in a video element: fragmented MP4, from a WebSocket or from a request without end,
// into a SourceBuffer. Where a browser has no Media Source Extensions, the element plays HLS itself.
//
// The state is one of `idle`, `connecting`, `playing`, `waiting` (for data, or for a publisher), `refused`,
// `unsupported`. Each change is an event `state`; `stats()` may be asked at any time.

import { Boxes, codecsOf, isInit } from './mp4.js';

/** Seconds of media that the player wants before it shows them. Below 0.1 s playback stalls. */
const LEAST_AHEAD = 0.15;
/** After stalls it wants up to so much. */
const MOST_AHEAD = 1;
/** With so much more than it wants it skips; with less it plays faster. */
const SKIP = 1;
const FASTER = 1.1;
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
/** Bytes that may wait for the SourceBuffer. */
const MOST_QUEUED = 32 << 20;

export const FORMS = ['websocket', 'http', 'hls'];

const Source = globalThis.MediaSource ?? globalThis.ManagedMediaSource;

/** The forms that this browser can play. */
export function formsHere(video) {
  const hls = video.canPlayType('application/vnd.apple.mpegurl') !== '';
  return FORMS.filter((form) => (form === 'hls' ? hls : Source !== undefined));
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
  #ahead = LEAST_AHEAD;
  #stalledSince = 0;
  #calmSince = 0;
  #placed = false;
  #paused = false;
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
      ahead: this.#end() - video.currentTime || 0,
      wanted: this.#ahead,
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
    this.#connection = this.#form === 'websocket' ? this.#openSocket() : this.#openRequest();
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
    this.#source = null;
    this.#buffer = null;
    this.#type = '';
  }

  /** The next data goes to a new place on the element's clock. */
  #place() {
    this.#placed = false;
    this.#stalledSince = 0;
    this.#calmSince = performance.now();
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
      this.#buffer.appendBuffer(piece);
      this.#drop(piece);
    } catch (error) {
      if (error.name === 'QuotaExceededError' && this.#trim(1)) {
        return;
      }
      this.#ended();
    }
  }

  #drop(piece) {
    this.#queue.shift();
    this.#queued -= piece.length;
  }

  /** Makes the SourceBuffer ready for a new init segment: an encoder may change its codecs at any time. */
  #prepare(source, init) {
    const type = `video/mp4; codecs="${codecsOf(init).join(', ')}"`;
    if (!Source.isTypeSupported(type)) {
      this.#giveUp();
      this.#type = type;
      return false;
    }
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
  }

  #stalled() {
    if (this.#placed && this.#state === 'playing' && !this.#stalledSince && !this.#video.seeking) {
      this.#stalledSince = performance.now();
      this.#counts.stalls += 1;
      // If there is data, the browser is too slow, and more of it would not help.
      if (this.#end() - this.#video.currentTime < LEAST_AHEAD) {
        this.#calmSince = this.#stalledSince;
        this.#ahead = Math.min(this.#ahead + 0.1, MOST_AHEAD);
      }
    }
  }

  #failed() {
    if (this.#source || this.#form === 'hls') {
      this.#become('waiting', this.#form === 'hls' ? 'not_live' : 'ended');
      this.#again();
    }
  }

  #tick() {
    if (this.#connection?.hasData && performance.now() - this.#heard > SILENCE) {
      this.#ended();
      return;
    }
    // After a calm time it dares to be closer again.
    if (performance.now() - this.#calmSince > CALM && this.#ahead > LEAST_AHEAD) {
      this.#ahead = Math.max(this.#ahead - 0.05, LEAST_AHEAD);
      this.#calmSince = performance.now();
    }
    this.#steer();
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
    const isLost = now > end + 0.5 || (now < end - 0.05 && !this.#isIn(ranges, now));
    if (isLost || ahead > this.#ahead + SKIP) {
      this.#counts.skips += 1;
      video.currentTime = Math.max(start, end - this.#ahead);
    }
    if (video.paused && !video.ended) {
      this.#show();
    }
    if (this.#stalledSince && ahead >= this.#ahead / 2 && video.readyState >= 3) {
      this.#stalledSince = 0;
    }
    const isBehind = ahead > this.#ahead + (video.playbackRate === 1 ? 0.1 : 0);
    const rate = isBehind && !this.#stalledSince ? FASTER : 1;
    if (video.playbackRate !== rate) {
      video.playbackRate = rate;
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

/**
 * Draws a picture of a stream, as it is now, on a canvas.
 * @returns true if there was one within ten seconds
 */
export async function takePicture(address, canvas) {
  const video = document.createElement('video');
  const player = new Player(video, address);
  try {
    player.start();
    await new Promise((resolve, reject) => {
      const until = performance.now() + 10_000;
      const timer = setInterval(() => {
        const { frames, dropped } = player.stats();
        // The first frames of a key frame's group are only decoded on the way to the live end.
        const isThere = video.readyState >= 2 && video.videoWidth > 0 && !video.seeking && frames - dropped > 1;
        const isOver = ['refused', 'unsupported'].includes(player.state) || performance.now() > until;
        if (isThere || isOver) {
          clearInterval(timer);
          (isThere ? resolve : reject)();
        }
      }, 50);
    });
    canvas.width = Math.min(video.videoWidth, 640);
    canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    return true;
  } catch {
    return false;
  } finally {
    player.stop();
  }
}
