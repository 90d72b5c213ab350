"""aiortc as a client of WHEP and WHIP.

    aiortc_client.py play URL SECONDS      prints the number of each picture that it has decoded, see the test picture
    aiortc_client.py publish URL SECONDS   publishes numbered pictures in H.264, 30 a second, and a tone in Opus
"""

import asyncio
import fractions
import sys
import time
import urllib.parse
import urllib.request

import av
import numpy
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

WIDTH, HEIGHT, BLOCK, BITS, RATE = 320, 180, 20, 16, 30


def ask(method, url, body=b""):
    request = urllib.request.Request(url, body or None, {"Content-Type": "application/sdp"}, method=method)
    answer = urllib.request.urlopen(request, timeout=30)
    return answer.read().decode(), answer.headers.get("Location")


async def connect(peer, url):
    await peer.setLocalDescription(await peer.createOffer())
    loop = asyncio.get_running_loop()
    answer, location = await loop.run_in_executor(None, ask, "POST", url, peer.localDescription.sdp.encode())
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return urllib.parse.urljoin(url, location)


def number_in(picture):
    row = picture.to_ndarray(format="gray")[BLOCK // 2]
    return sum(1 << bit for bit in range(BITS) if row[bit * BLOCK + BLOCK // 2] > 127)


async def play(url, seconds):
    peer = RTCPeerConnection()
    for kind in ("video", "audio"):
        peer.addTransceiver(kind, direction="recvonly")
    sounds = 0

    async def take(track):
        nonlocal sounds
        try:
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    print(number_in(frame), flush=True)
                else:
                    sounds += 1
        except MediaStreamError:
            pass

    tasks = []
    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(take(track))))
    location = await connect(peer, url)
    await asyncio.sleep(seconds)
    print("sounds", sounds, flush=True)
    ask("DELETE", location)
    await peer.close()


class Pictures(MediaStreamTrack):
    kind = "video"

    def __init__(self):
        super().__init__()
        self.count, self.begun = 0, time.time()

    async def recv(self):
        await asyncio.sleep(max(0, self.begun + self.count / RATE - time.time()))
        gray = numpy.full((HEIGHT, WIDTH), 96, dtype=numpy.uint8)
        gray[BLOCK * 2:, (self.count * 4) % WIDTH] = 200
        for bit in range(BITS):
            gray[:BLOCK, bit * BLOCK:(bit + 1) * BLOCK] = 235 if self.count >> bit & 1 else 16
        picture = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
        picture.pts, picture.time_base = self.count * 90_000 // RATE, fractions.Fraction(1, 90_000)
        self.count += 1
        return picture


class Tone(MediaStreamTrack):
    kind = "audio"

    def __init__(self):
        super().__init__()
        self.count, self.begun = 0, time.time()

    async def recv(self):
        await asyncio.sleep(max(0, self.begun + self.count / 50 - time.time()))
        at = numpy.arange(960) + self.count * 960
        wave = (numpy.sin(at * 2 * numpy.pi * 440 / 48_000) * 8000).astype(numpy.int16)
        sound = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 48_000, self.count * 960, fractions.Fraction(1, 48_000)
        self.count += 1
        return sound


async def publish(url, seconds):
    peer = RTCPeerConnection()
    pictures = Pictures()
    for track in (pictures, Tone()):
        transceiver = peer.addTransceiver(track, direction="sendonly")
        if track.kind == "video":
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/H264", "video/rtx")])
    location = await connect(peer, url)
    await asyncio.sleep(seconds)
    print("published", pictures.count, flush=True)
    ask("DELETE", location)
    await peer.close()


async def main():
    what, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    await {"play": play, "publish": publish}[what](url, seconds)


asyncio.run(main())
