/** Record the microphone as samples. */

/** Return why this page cannot record; "" if it can. */
export function whyNoRecording() {
  if (!window.isSecureContext) {
    return "Browsers record only on HTTPS pages and on localhost. Choose a file instead.";
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    return "This browser cannot record. Choose a file instead.";
  }
  return "";
}

export class Recorder {
  /**
   * @param {number} maxSeconds after which `onEnd` is called
   * @param {(seconds: number, level: number) => void} onProgress level from 0 to 1
   * @param {() => void} onEnd the recording is as long as it may be, or the microphone has ended
   */
  constructor(maxSeconds, onProgress, onEnd) {
    this.maxSeconds = maxSeconds;
    this.onProgress = onProgress;
    this.onEnd = onEnd;
    this.blocks = [];
    this.length = 0;
    this.peak = 0;
  }

  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({
      // Changes of the signal that serve calls may remove sounds.
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false },
    });
    try {
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule("/static/capture.js");
      this.node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      this.node.port.onmessage = ({ data }) => this.add(data);
      this.context.createMediaStreamSource(this.stream).connect(this.node);
      this.stream.getAudioTracks()[0].onended = () => this.onEnd();
    } catch (error) {
      this.release();
      throw error;
    }
  }

  add(block) {
    if (this.length >= this.maxSeconds * this.context.sampleRate) return;
    this.blocks.push(block);
    this.length += block.length;
    for (const sample of block) this.peak = Math.max(this.peak, Math.abs(sample));
    if (this.blocks.length % 16 === 0) {
      this.onProgress(this.length / this.context.sampleRate, this.peak);
      this.peak = 0;
    }
    if (this.length >= this.maxSeconds * this.context.sampleRate) this.onEnd();
  }

  /** End the recording; return its samples and their rate in Hz. */
  stop() {
    const limit = Math.floor(this.maxSeconds * this.context.sampleRate);
    const samples = new Float32Array(Math.min(this.length, limit));
    let start = 0;
    for (const block of this.blocks) {
      samples.set(block.subarray(0, samples.length - start), start);
      start += block.length;
      if (start >= samples.length) break;
    }
    const rate = this.context.sampleRate;
    this.release();
    return { samples, rate };
  }

  release() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.node?.port.close();
    this.context?.close();
  }
}
