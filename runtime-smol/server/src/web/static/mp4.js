// What the player needs of fragmented MP4 (ISO/IEC 14496-12): where boxes end, and what codecs an init segment has.

/** A box larger than this is no box. */
const MOST = 64 << 20;

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const fourCc = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
/** The type of a box without a meaning. */
const FREE = [...'free'].map((letter) => letter.charCodeAt(0));
const hex = (value, digits = 2) => value.toString(16).toUpperCase().padStart(digits, '0');

/** The box at a place: its type, where it and its content begin and where it ends; null if its head is not there. */
function boxAt(bytes, at) {
  if (bytes.length - at < 8) {
    return null;
  }
  let size = view(bytes).getUint32(at);
  let head = 8;
  if (size === 1) {
    if (bytes.length - at < 16) {
      return null;
    }
    size = Number(view(bytes).getBigUint64(at + 8));
    head = 16;
  }
  if (size < head || size > MOST) {
    throw new Error('not MP4');
  }
  return { type: fourCc(bytes, at + 4), at, start: at + head, end: at + size };
}

/**
 * Cuts a stream of bytes, as it comes from the network, into init segments and runs of whole fragments.
 */
export class Boxes {
  #rest = new Uint8Array(0);

  push(bytes) {
    const all = this.#rest.length === 0 ? bytes : joined(this.#rest, bytes);
    const pieces = [];
    let [start, end, at] = [0, 0, 0];
    const cut = () => {
      if (end > start) {
        pieces.push(all.subarray(start, end));
      }
      start = end;
    };
    for (let box = boxAt(all, at); box !== null && box.end <= all.length; box = boxAt(all, at)) {
      // An init segment is a piece alone, as the SourceBuffer may have to change before it.
      if (box.type === 'ftyp') {
        cut();
      }
      at = box.end;
      if (box.type === 'moov' || box.type === 'mdat') {
        end = at;
      }
      if (box.type === 'moov') {
        cut();
      }
    }
    cut();
    // A copy, so that the array that it lies in can go.
    this.#rest = all.slice(start);
    return pieces;
  }
}

/** Both, one after the other. */
function joined(first, second) {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

/** Whether a piece is an init segment. */
export function isInit(piece) {
  return ['ftyp', 'moov'].includes(fourCc(piece, 4));
}

/** The boxes of one type in a part of the bytes. */
function* find(bytes, type, start, end) {
  for (let at = start; at < end; ) {
    const box = boxAt(bytes, at);
    if (box === null || box.end > end) {
      return;
    }
    if (box.type === type) {
      yield box;
    }
    at = box.end;
  }
}

/** The boxes at a path of types in a part of the bytes. */
function inner(bytes, outer, ...path) {
  return path.reduce((boxes, type) => boxes.flatMap((box) => [...find(bytes, type, box.start, box.end)]), [outer]);
}

const whole = (bytes) => ({ start: 0, end: bytes.length });

/** The tracks of an init segment: number, whether it has pictures, and codec as RFC 6381 and its relatives have it. */
export function tracksOf(init) {
  return inner(init, whole(init), 'moov', 'trak').map((trak) => {
    const [tkhd] = inner(init, trak, 'tkhd');
    const [hdlr] = inner(init, trak, 'mdia', 'hdlr');
    const [stsd] = inner(init, trak, 'mdia', 'minf', 'stbl', 'stsd');
    return {
      id: trackOf(init, tkhd),
      // Version, flags and a number that is nothing.
      isPicture: fourCc(init, hdlr.start + 8) === 'vide',
      // Version, flags and the number of entries.
      codec: codecOf(init, boxAt(init, stsd.start + 8)),
    };
  });
}

/** The number of the track in a `tkhd`, `tfhd` or `trex`. */
function trackOf(bytes, { type, start }) {
  // The times come before it in a `tkhd`, in 64 bits in version 1.
  const times = type === 'tkhd' ? (bytes[start] === 1 ? 16 : 8) : 0;
  return view(bytes).getUint32(start + 4 + times);
}

/** The runs of samples in some fragments: the number of the track, and where the box is. */
export function runsOf(fragments) {
  return inner(fragments, whole(fragments), 'moof', 'traf').map((box) => {
    const [tfhd] = inner(fragments, box, 'tfhd');
    return { id: trackOf(fragments, tfhd), box };
  });
}

/** Makes some tracks, by their numbers, nothing to a reader of an init segment or of fragments; moves no byte. */
export function mask(piece, ids) {
  const moov = inner(piece, whole(piece), 'moov');
  const defaults = moov.flatMap((box) => inner(piece, box, 'mvex', 'trex'));
  const tracks = moov.flatMap((box) => inner(piece, box, 'trak'));
  const boxes = [
    ...runsOf(piece),
    ...defaults.map((box) => ({ id: trackOf(piece, box), box })),
    ...tracks.map((box) => ({ id: trackOf(piece, inner(piece, box, 'tkhd')[0]), box })),
  ];
  for (const { box } of boxes.filter(({ id }) => ids.has(id))) {
    piece.set(FREE, box.at + 4);
  }
}

function codecOf(bytes, entry) {
  const { type, start, end } = entry;
  // The boxes of a sample entry follow 28 bytes of sound, 78 bytes of a picture.
  const skip = ['mp4a', 'Opus', 'fLaC'].includes(type) ? 28 : 78;
  const box = (name) => find(bytes, name, start + skip, end).next().value;
  const at = (name, offset) => bytes[box(name).start + offset];
  switch (type) {
    case 'avc1':
    case 'avc3':
      return `${type}.${[1, 2, 3].map((offset) => hex(at('avcC', offset))).join('')}`;
    case 'hvc1':
    case 'hev1':
      return `${type}.${hevc(bytes.subarray(box('hvcC').start, box('hvcC').end))}`;
    case 'av01': {
      const [second, third] = [at('av1C', 1), at('av1C', 2)];
      const depth = third & 0x40 ? (third & 0x20 ? 12 : 10) : 8;
      const level = String(second & 0x1f).padStart(2, '0');
      return `av01.${second >> 5}.${level}${third & 0x80 ? 'H' : 'M'}.${String(depth).padStart(2, '0')}`;
    }
    case 'vp09': {
      const number = (value) => String(value).padStart(2, '0');
      // Version and flags come first.
      return `vp09.${number(at('vpcC', 4))}.${number(at('vpcC', 5))}.${number(at('vpcC', 6) >> 4)}`;
    }
    case 'mp4a':
      return mp4a(bytes.subarray(box('esds').start + 4, box('esds').end));
    case 'Opus':
      return 'opus';
    case 'fLaC':
      return 'flac';
    default:
      return type;
  }
}

/** ISO/IEC 14496-15 annex E: profile, compatibility flags in reverse, tier and level, constraints. */
function hevc(record) {
  const space = ['', 'A', 'B', 'C'][record[1] >> 6];
  let flags = 0;
  for (let bit = 0; bit < 32; bit += 1) {
    flags |= ((record[2 + (bit >> 3)] >> (7 - (bit & 7))) & 1) << bit;
  }
  const tier = record[1] & 0x20 ? 'H' : 'L';
  const constraints = [...record.subarray(6, 12)];
  while (constraints.at(-1) === 0) {
    constraints.pop();
  }
  const words = [`${space}${record[1] & 0x1f}`, (flags >>> 0).toString(16).toUpperCase(), `${tier}${record[12]}`];
  return [...words, ...constraints.map((value) => value.toString(16).toUpperCase())].join('.');
}

/** The descriptors of an `esds` box: the kind of object, and for AAC the kind of audio object. */
function mp4a(bytes) {
  let at = 0;
  const head = () => {
    const tag = bytes[at];
    let length = 0;
    do {
      at += 1;
      length = (length << 7) | (bytes[at] & 0x7f);
    } while (bytes[at] & 0x80);
    at += 1;
    return { tag, end: at + length };
  };
  // ES_Descriptor: its id, and flags that say what else there is.
  head();
  const flags = bytes[at + 2];
  at += 3 + (flags & 0x80 ? 2 : 0) + (flags & 0x20 ? 2 : 0);
  if (flags & 0x40) {
    at += 1 + bytes[at];
  }
  // DecoderConfigDescriptor.
  head();
  const object = bytes[at];
  at += 13;
  if (object !== 0x40 || head().tag !== 5) {
    return `mp4a.${hex(object)}`;
  }
  const kind = bytes[at] >> 3;
  return `mp4a.40.${kind === 31 ? 32 + (((bytes[at] & 7) << 3) | (bytes[at + 1] >> 5)) : kind}`;
}
