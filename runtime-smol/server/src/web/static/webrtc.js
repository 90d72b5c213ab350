// WebRTC with the server: WHEP to play, WHIP to publish. The server has one address and gathers nothing, so an offer
// and its answer are all that is said over HTTP, and a request to the URL of the session ends it.

/**
 * Milliseconds from the answer within which a connection must be there; networks without UDP never get one. In a room there is
 * no other way that a player could go.
 */
const LONGEST_CONNECT = location.pathname.startsWith('/call') ? 10_000 : 3_000;
/** A connection that does not answer may come back within so many milliseconds. */
const LONGEST_LOSS = 5_000;
/** A browser that has so many whole pictures and could decode none of them has no decoder for them. */
const MOST_UNDECODED = 90;
/**
 * A stream that shows fewer than so many pictures in so many looks has more in other forms: of one with B-frames that
 * other pictures need, there is little more than the key frames.
 */
const FEW = 24;
const FEW_LOOKS = 16;
/** Milliseconds between two looks at what came. */
const LOOK = 500;

/** One connection: from an offer to its end. */
export class Session {
  #endpoint;
  #tell;
  #peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  #abort = new AbortController();
  #location = null;
  #timer = 0;
  #isConnected = false;
  #isOver = false;
  #leave = () => this.close();

  /**
   * @param endpoint the URL that takes offers
   * @param prepare puts tracks into the connection that it is given
   * @param tell `connected()`, and `gone({ status, why })` once it is over, but not after close(). The status is that
   *   of the answer, 0 if there was none. Without one, `why` is `unreachable` if no packet came through, or `lost`.
   */
  constructor(endpoint, prepare, tell) {
    this.#endpoint = endpoint;
    this.#tell = tell;
    this.#peer.addEventListener('connectionstatechange', () => this.#look());
    addEventListener('pagehide', this.#leave);
    this.#run(prepare);
  }

  get peer() {
    return this.#peer;
  }

  /** The secret URL of the session, once there is an answer. */
  get location() {
    return this.#location;
  }

  async #run(prepare) {
    // Never before the caller has the session.
    await null;
    try {
      await prepare(this.#peer);
      const offer = await this.#peer.createOffer();
      // Browsers play one channel of two unless the offer says this.
      const sdp = offer.sdp.replace(/(useinbandfec=1)(?!;stereo)/g, '$1;stereo=1');
      await this.#peer.setLocalDescription({ type: 'offer', sdp });
      const answer = await this.#ask('POST', this.#endpoint, sdp);
      if (answer.status !== 201) {
        this.#end({ status: answer.status });
        return;
      }
      const location = answer.headers.get('Location');
      this.#location = location === null ? null : new URL(location, answer.url);
      const text = await answer.text();
      if (this.#isOver) {
        return;
      }
      this.#timer = setTimeout(() => this.#end({ why: 'unreachable' }), LONGEST_CONNECT);
      await this.#peer.setRemoteDescription({ type: 'answer', sdp: text });
      for (const { receiver, sender } of this.#peer.getTransceivers()) {
        const transport = receiver.transport ?? sender.transport;
        // The server says goodbye to a client that it ends.
        transport?.addEventListener('statechange', () => transport.state === 'closed' && this.#forgotten());
      }
    } catch (error) {
      this.#end(this.#location === null ? { status: 0, error } : { why: 'unreachable', error });
    }
  }

  #ask(method, address, sdp) {
    const headers = { 'Content-Type': 'application/sdp' };
    return fetch(address, { method, headers, body: sdp, cache: 'no-store', signal: this.#abort.signal });
  }

  #look() {
    const state = this.#peer.connectionState;
    if (state === 'connected') {
      clearTimeout(this.#timer);
      if (!this.#isConnected) {
        this.#isConnected = true;
        this.#tell.connected();
      }
    } else if (state === 'disconnected' && this.#isConnected) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#end({ why: 'lost' }), LONGEST_LOSS);
    } else if (state === 'failed' || state === 'closed') {
      this.#end({ why: this.#isConnected ? 'lost' : 'unreachable' });
    }
  }

  /** The server has ended the session, and has no such URL any more. */
  #forgotten() {
    this.#location = null;
    this.#end({ why: 'lost' });
  }

  #end(how) {
    if (!this.#isOver) {
      this.close();
      this.#tell.gone(how);
    }
  }

  close() {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    clearTimeout(this.#timer);
    removeEventListener('pagehide', this.#leave);
    this.#abort.abort();
    const location = this.#location;
    if (location === null) {
      this.#peer.close();
      return;
    }
    // Also while the page goes away. A peer that closes has said goodbye, after which the URL is gone.
    fetch(location, { method: 'DELETE', keepalive: true }).catch(() => {}).finally(() => this.#peer.close());
  }
}

/** A session that plays. */
export class Viewing {
  #session;
  #media = new MediaStream();
  #timer = 0;
  #last = { bytes: 0, freezes: 0, emitted: 0, delay: 0, kept: 0 };
  /** How many pictures were decoded by each of the last looks at which something came. */
  #decoded = [];

  /**
   * @param endpoint the URL for offers of players
   * @param tell as for sessions, with `undecodable` and `few` as more reasons, and twice a second
   *   `seen({ bytes, freezes, codecs, kept })`: what came and how often the picture froze since the last time, and the
   *   seconds for which the browser keeps pictures back
   */
  constructor(endpoint, tell) {
    const connected = () => {
      this.#timer = setInterval(() => this.#look(tell), LOOK);
      tell.connected();
    };
    const gone = async (how) => {
      clearInterval(this.#timer);
      // A server without WebRTC has no such address, whatever is live.
      const isNowhere = how.status === 404 && !(await isThere(endpoint));
      tell.gone(isNowhere ? { status: 501 } : how);
    };
    this.#session = new Session(endpoint, (peer) => {
      for (const kind of ['video', 'audio']) {
        const { receiver } = peer.addTransceiver(kind, { direction: 'recvonly' });
        // As little as the network permits is kept back.
        receiver.jitterBufferTarget = 0;
        this.#media.addTrack(receiver.track);
      }
    }, { connected, gone });
  }

  get media() {
    return this.#media;
  }

  close() {
    clearInterval(this.#timer);
    this.#session.close();
  }

  async #look(tell) {
    const report = [...(await this.#session.peer.getStats()).values()];
    const tracks = report.filter(({ type }) => type === 'inbound-rtp');
    const picture = tracks.find(({ kind }) => kind === 'video') ?? {};
    const bytes = tracks.reduce((sum, track) => sum + (track.bytesReceived ?? 0), 0);
    const codecs = tracks.map(({ codecId }) => report.find(({ id }) => id === codecId)?.mimeType?.split('/')[1]);
    const { freezeCount: freezes = 0, jitterBufferEmittedCount: emitted = 0, jitterBufferDelay: delay = 0 } = picture;
    const last = this.#last;
    const kept = emitted > last.emitted ? (delay - last.delay) / (emitted - last.emitted) : last.kept;
    this.#last = { bytes, freezes, emitted, delay, kept };
    const why = this.#whyOther(picture, bytes > last.bytes);
    if (why !== null) {
      this.close();
      tell.gone({ why });
      return;
    }
    const known = codecs.filter((codec) => codec !== undefined).join(', ');
    tell.seen({ bytes: bytes - last.bytes, freezes: freezes - last.freezes, codecs: known, kept });
  }

  /** Why another form shows more of the stream, if it does. */
  #whyOther({ framesReceived = 0, framesDecoded = 0 }, hasCome) {
    if (framesReceived > MOST_UNDECODED && framesDecoded === 0) {
      return 'undecodable';
    }
    if (hasCome && framesDecoded > 0) {
      this.#decoded.push(framesDecoded);
    }
    const before = this.#decoded.at(-1 - FEW_LOOKS);
    return before !== undefined && framesDecoded - before < FEW ? 'few' : null;
  }
}

async function isThere(endpoint) {
  try {
    return (await fetch(endpoint, { method: 'HEAD', cache: 'no-store' })).ok;
  } catch {
    // The server is gone: not what was asked.
    return true;
  }
}

/** Codecs in the order in which the server's other players have them. */
const ORDER = ['video/h264', 'video/av1', 'video/vp9'];

/** Publishes the tracks of a `MediaStream`. */
export function publish(endpoint, media, tell) {
  return new Session(endpoint, (peer) => {
    for (const track of media.getTracks()) {
      const transceiver = peer.addTransceiver(track, { direction: 'sendonly', streams: [media] });
      const known = globalThis.RTCRtpReceiver?.getCapabilities?.(track.kind)?.codecs;
      if (track.kind === 'video' && known !== undefined && transceiver.setCodecPreferences) {
        const place = ({ mimeType }) => ORDER.indexOf(mimeType.toLowerCase());
        const wanted = known.filter((codec) => place(codec) >= 0).sort((a, b) => place(a) - place(b));
        const others = known.filter((codec) => place(codec) < 0);
        transceiver.setCodecPreferences([...wanted, ...others]);
      }
    }
  }, tell);
}
