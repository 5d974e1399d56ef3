// Follow a recording: mark the column of each alignment that sounds at the moment.

class Follower {
  /** @param {HTMLAudioElement} audio */
  constructor(audio) {
    this.audio = audio;
    this.tracks = []; // {columns: Element[][], starts: number[] | null, current: number}
    this.frame = 0;
    const update = () => this.update();
    audio.addEventListener("play", () => this.#run());
    for (const name of ["seeking", "seeked", "pause", "ended"]) audio.addEventListener(name, update);
  }

  /** Follow these columns from now on. */
  follow(tracks) {
    this.tracks = tracks.map((track) => ({ ...track, current: -1 }));
    this.update();
  }

  #run() {
    cancelAnimationFrame(this.frame);
    const step = () => {
      this.update();
      if (!this.audio.paused && this.audio.isConnected) this.frame = requestAnimationFrame(step);
    };
    step();
  }

  update() {
    const { currentTime: time, ended } = this.audio;
    for (const track of this.tracks) {
      const column = ended || time === 0 ? -1 : this.#columnAt(track, time);
      if (column === track.current) continue;
      for (const cell of track.columns[track.current] ?? []) cell.classList.remove("now");
      for (const cell of track.columns[column] ?? []) cell.classList.add("now");
      track.current = column;
    }
  }

  /** Without token times, columns are spread evenly over the recording. */
  #columnAt({ columns, starts }, time) {
    if (!starts) {
      const duration = this.audio.duration || Infinity;
      return Math.min(Math.floor((time / duration) * columns.length), columns.length - 1);
    }
    let low = 0, high = starts.length; // the last column that starts at or before `time`
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Return when a column starts, in seconds. */
  startOf({ columns, starts }, column) {
    return starts ? starts[column] : (column / columns.length) * (this.audio.duration || 0);
  }
}
