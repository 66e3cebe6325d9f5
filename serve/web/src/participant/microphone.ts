/** Why a microphone could not be had: what the page can say about it. */
export type MicrophoneProblem = "denied" | "missing" | "busy" | "unsupported";

const PROBLEMS: Record<string, MicrophoneProblem> = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export function microphoneProblem(error: unknown): MicrophoneProblem {
  return (error instanceof Error && PROBLEMS[error.name]) || "unsupported";
}

/** Browsers give a microphone to pages on https and on this machine only. */
export function canTalk(): boolean {
  return "mediaDevices" in navigator && "RTCPeerConnection" in window;
}

const SILENCE = 1e-4; // -80 dBFS: a microphone that is on has more noise than that
const FLOOR_DB = -55;
const QUIET_AFTER_MS = 8_000;

/** How loud a microphone is, for the eye: `show` gets 0 to 1 with each frame drawn. */
export class LevelMeter {
  private readonly context = new AudioContext();
  private readonly analyser: AnalyserNode;
  private readonly samples: Float32Array<ArrayBuffer>;
  private source: MediaStreamAudioSourceNode | null = null;
  private frame = 0;
  private heardAtMs = performance.now();
  private silent = false;

  constructor(
    private readonly show: (level: number) => void,
    private readonly onSilent: (silent: boolean) => void,
  ) {
    this.analyser = new AnalyserNode(this.context, { fftSize: 1024 });
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  /** Another device may take the first one's place. */
  follow(track: MediaStreamTrack): void {
    this.source?.disconnect();
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(this.analyser);
    cancelAnimationFrame(this.frame);
    this.draw();
  }

  close(): void {
    cancelAnimationFrame(this.frame);
    this.source?.disconnect();
    void this.context.close();
  }

  private readonly draw = (): void => {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, sample) => sum + sample * sample, 0);
    const loudness = Math.sqrt(power / this.samples.length);
    this.show(shownLevel(loudness));
    this.watch(loudness > SILENCE);
    this.frame = requestAnimationFrame(this.draw);
  };

  private watch(heard: boolean): void {
    const now = performance.now();
    if (heard) this.heardAtMs = now;
    const silent = now - this.heardAtMs > QUIET_AFTER_MS;
    if (silent !== this.silent) this.onSilent((this.silent = silent));
  }
}

/** Loudness as the ear has it: 0 at the floor of a quiet room, 1 at full scale. */
export function shownLevel(loudness: number): number {
  const db = 20 * Math.log10(Math.max(loudness, 1e-6));
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}
