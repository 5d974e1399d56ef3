/** Play parts of a recording. */

const MARGIN = 0.03; // seconds before and after a part, so that its sounds are not cut

export class Player {
  /** @param {(seconds: number | null) => void} onMove where it plays; null at the end */
  constructor(onMove) {
    this.onMove = onMove;
  }

  /** Set the recording: samples from -1 to 1, and their rate in Hz. */
  load(samples, rate) {
    this.stop();
    this.context ??= new AudioContext();
    this.audio = this.context.createBuffer(1, Math.max(1, samples.length), rate);
    this.audio.copyToChannel(samples, 0);
  }

  /** Play from `start` to `end` in seconds; a speed below 1 is slower and lower. */
  async play(start = 0, end = this.audio.duration, speed = 1) {
    this.stop();
    await this.context.resume();
    const from = Math.max(0, start - MARGIN);
    const seconds = Math.max(0.15, Math.min(this.audio.duration, end + MARGIN) - from);
    const source = new AudioBufferSourceNode(this.context, { buffer: this.audio, playbackRate: speed });
    source.connect(this.context.destination);
    this.source = source;
    source.onended = () => {
      if (this.source === source) this.stop();
    };
    const begin = this.context.currentTime;
    source.start(0, from, seconds);
    const move = () => {
      if (this.source !== source) return;
      this.onMove(Math.min(from + speed * (this.context.currentTime - begin), from + seconds));
      requestAnimationFrame(move);
    };
    move();
  }

  stop() {
    const source = this.source;
    this.source = null;
    source?.stop();
    this.onMove(null);
  }
}
