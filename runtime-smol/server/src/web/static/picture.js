// A picture of a stream, as it is now.

import { Player } from './player.js';

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
