// Makes fragmented MP4 of FLV, for a SourceBuffer: H.264 and AAC, a fragment for each frame.

import { joined } from './mp4.js';

/** A tag larger than this is no tag. */
const MOST = 16 << 20;
/** All times are in milliseconds, as in FLV. */
const SCALE = 1000;
const RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

const u16 = (value) => [(value >> 8) & 255, value & 255];
const u32 = (value) => [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
const u64 = (value) => [...u32(Math.floor(value / 2 ** 32)), ...u32(value % 2 ** 32)];
const zeros = (count) => new Array(count).fill(0);

/** A box of MP4; its content is bytes and boxes. */
function box(type, ...content) {
  const bytes = content.flatMap((part) => (typeof part === 'number' ? [part] : [...part]));
  return [...u32(bytes.length + 8), ...[...type].map((letter) => letter.charCodeAt(0)), ...bytes];
}

const full = (type, flags, ...content) => box(type, u32(flags), ...content);

/** Cuts a stream of FLV, as it comes from the network, into pieces like `Boxes` does with MP4. */
export class Remuxer {
  #rest = new Uint8Array(0);
  #begun = false;
  #tracks = { video: null, audio: null };
  #wanted = { video: true, audio: true };
  #size = { width: 1280, height: 720 };
  #isChanged = false;
  #number = 0;

  push(bytes) {
    const all = this.#rest.length === 0 ? bytes : joined(this.#rest, bytes);
    const pieces = [];
    let at = 0;
    if (!this.#begun) {
      if (all.length < 13) {
        this.#rest = all.slice();
        return pieces;
      }
      if (all[0] !== 0x46 || all[1] !== 0x4c || all[2] !== 0x56) {
        throw new Error('not FLV');
      }
      this.#begun = true;
      this.#wanted = { video: (all[4] & 1) !== 0, audio: (all[4] & 4) !== 0 };
      at = 13;
    }
    while (all.length - at >= 11) {
      const size = (all[at + 1] << 16) | (all[at + 2] << 8) | all[at + 3];
      if (size > MOST) {
        throw new Error('not FLV');
      }
      if (all.length - at < size + 15) {
        break;
      }
      const time = ((all[at + 4] << 16) | (all[at + 5] << 8) | all[at + 6]) + all[at + 7] * 2 ** 24;
      this.#take(all[at], time, all.subarray(at + 11, at + 11 + size), pieces);
      at += size + 15;
    }
    this.#rest = all.slice(at);
    return pieces;
  }

  #take(kind, time, body, pieces) {
    if (kind === 18) {
      this.#readSize(body);
    } else if (kind === 9 && body.length >= 5) {
      // Other codecs, and those of Enhanced RTMP, are not for this.
      if ((body[0] & 0x8f) !== 7) {
        throw new Error('codec');
      }
      const offset = ((body[2] << 24) | (body[3] << 16) | (body[4] << 8)) >> 8;
      const track = { kind: 'video', isKey: body[0] >> 4 === 1, offset };
      this.#frame(body[1], time, body.subarray(5), track, pieces);
    } else if (kind === 8 && body.length >= 2) {
      if (body[0] >> 4 !== 10) {
        throw new Error('codec');
      }
      this.#frame(body[1], time, body.subarray(2), { kind: 'audio', isKey: true, offset: 0 }, pieces);
    }
  }

  /** `packet` is 0 for a header, 1 for a frame. */
  #frame(packet, time, data, { kind, isKey, offset }, pieces) {
    const track = this.#tracks[kind];
    if (packet === 0) {
      if (track === null || String(track.header) !== String(data)) {
        this.#tracks[kind] = { header: data.slice(), last: null, duration: 34, ...audioOf(kind, data) };
        this.#isChanged = true;
      }
      return;
    }
    const { video, audio } = this.#tracks;
    const isReady = (!this.#wanted.video || video !== null) && (!this.#wanted.audio || audio !== null);
    if (packet !== 1 || track === null || !isReady) {
      return;
    }
    if (this.#isChanged) {
      this.#isChanged = false;
      pieces.push(new Uint8Array(this.#init()));
    }
    // How long a frame lasts is only known at the next one. Too long does no harm, too short leaves a hole.
    if (kind === 'video') {
      const passed = track.last === null ? 0 : time - track.last;
      track.duration = passed > 0 && passed < 1000 ? passed + 1 : track.duration;
      track.last = time;
    }
    pieces.push(this.#fragment(kind === 'video' ? 1 : 2, time, track.duration, isKey, offset, data));
  }

  /** Width and height in the metadata: a decoder wants to know them before the first frame. */
  #readSize(body) {
    const text = String.fromCharCode(...body.subarray(0, 4096));
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    for (const key of ['width', 'height']) {
      const at = text.indexOf(`${key}\0`);
      const value = at >= 0 && at + key.length + 9 <= body.length ? view.getFloat64(at + key.length + 1) : 0;
      if (value >= 16 && value <= 16384) {
        this.#size[key] = Math.round(value);
      }
    }
  }

  #init() {
    const { video, audio } = this.#tracks;
    const { width, height } = this.#size;
    const matrix = [...u32(0x10000), ...zeros(12), ...u32(0x10000), ...zeros(12), ...u32(0x40000000)];
    const traks = [];
    const trak = (id, handler, header, entry, [w, h]) => traks.push(box('trak',
      full('tkhd', 7, zeros(8), u32(id), zeros(20), u16(id === 2 ? 0x100 : 0), u16(0), matrix, u16(w), u16(0), u16(h),
        u16(0)),
      box('mdia', full('mdhd', 0, zeros(8), u32(SCALE), u32(0), u16(0x55c4), u16(0)),
        full('hdlr', 0, zeros(4), [...handler].map((letter) => letter.charCodeAt(0)), zeros(13)),
        box('minf', header, box('dinf', full('dref', 0, u32(1), full('url ', 1))),
          box('stbl', full('stsd', 0, u32(1), entry), full('stts', 0, u32(0)), full('stsc', 0, u32(0)),
            full('stsz', 0, u32(0), u32(0)), full('stco', 0, u32(0)))))));
    if (video !== null) {
      const entry = box('avc1', zeros(6), u16(1), zeros(16), u16(width), u16(height), u32(0x480000), u32(0x480000),
        u32(0), u16(1), zeros(32), u16(24), u16(0xffff), box('avcC', video.header));
      trak(1, 'vide', full('vmhd', 1, zeros(8)), entry, [width, height]);
    }
    if (audio !== null) {
      const descriptor = (tag, ...content) => {
        const bytes = content.flatMap((part) => [...part]);
        return [tag, 0x80, 0x80, 0x80, bytes.length, ...bytes];
      };
      const config = descriptor(4, [0x40, 0x15], zeros(11), descriptor(5, audio.header));
      const entry = box('mp4a', zeros(6), u16(1), zeros(8), u16(audio.channels), u16(16), zeros(4), u16(audio.rate),
        u16(0), full('esds', 0, descriptor(3, u16(0), [0], config, descriptor(6, [2]))));
      trak(2, 'soun', full('smhd', 0, zeros(4)), entry, [0, 0]);
    }
    const trex = [video && 1, audio && 2].filter(Boolean)
      .map((id) => full('trex', 0, u32(id), u32(1), u32(0), u32(0), u32(0)));
    const mvhd = full('mvhd', 0, zeros(8), u32(SCALE), u32(0), u32(0x10000), u16(0x100), zeros(10), matrix, zeros(24),
      u32(3));
    const brand = (text) => [...text].map((letter) => letter.charCodeAt(0));
    const moov = box('moov', mvhd, ...traks, box('mvex', ...trex));
    return [...box('ftyp', brand('isom'), u32(1), brand('isomiso5')), ...moov];
  }

  #fragment(id, time, duration, isKey, offset, data) {
    this.#number += 1;
    const flags = isKey ? 0x2000000 : 0x1010000;
    const moof = (place) => box('moof', full('mfhd', 0, u32(this.#number)), box('traf',
      full('tfhd', 0x20000, u32(id)), full('tfdt', 0x1000000, u64(time)),
      full('trun', 0x1000f01, u32(1), u32(place), u32(duration), u32(data.length), u32(flags), u32(offset))));
    const head = [...moof(moof(0).length + 8), ...u32(data.length + 8), 0x6d, 0x64, 0x61, 0x74];
    return joined(new Uint8Array(head), data);
  }
}

/** What an AudioSpecificConfig says: the rate, the channels, and how long a frame lasts. */
function audioOf(kind, config) {
  if (kind !== 'audio') {
    return {};
  }
  const rate = RATES[((config[0] & 7) << 1) | (config[1] >> 7)] ?? 48000;
  return { rate, channels: (config[1] >> 3) & 15 || 2, duration: Math.ceil(1024 * SCALE / rate) };
}
