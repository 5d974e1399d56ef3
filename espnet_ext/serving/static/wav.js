/** Encode samples as a 16-bit WAV file, which the server reads without ffmpeg. */

const HEADER = 44; // bytes

/**
 * Return a WAV file with one channel.
 * @param {Float32Array} samples from -1 to 1
 * @param {number} rate in Hz
 * @returns {Blob}
 */
export function encodeWav(samples, rate) {
  const buffer = new ArrayBuffer(HEADER + 2 * samples.length);
  const view = new DataView(buffer);
  const write = (offset, text) => {
    for (let i = 0; i < text.length; i += 1) view.setUint8(offset + i, text.charCodeAt(i));
  };
  write(0, "RIFF");
  view.setUint32(4, buffer.byteLength - 8, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // size of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per sample of all channels
  view.setUint16(34, 16, true); // bits per sample
  write(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => {
    const value = Math.round(32768 * sample);
    view.setInt16(HEADER + 2 * i, Math.max(-32768, Math.min(32767, value)), true);
  });
  return new Blob([buffer], { type: "audio/wav" });
}

/**
 * Return the mean of the channels of decoded audio.
 * @param {AudioBuffer} audio
 * @returns {Float32Array}
 */
export function toMono(audio) {
  const mono = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel += 1) {
    audio.getChannelData(channel).forEach((sample, i) => {
      mono[i] += sample / audio.numberOfChannels;
    });
  }
  return mono;
}
