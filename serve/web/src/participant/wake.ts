/** Keeps the screen on while the interview lasts, where the browser can. */
export class WakeLock {
  private lock: WakeLockSentinel | null = null;
  private wanted = false;
  private readonly seen = () => void this.take();

  hold(): void {
    this.wanted = true;
    // A page that was hidden has lost it.
    document.addEventListener("visibilitychange", this.seen);
    void this.take();
  }

  release(): void {
    this.wanted = false;
    document.removeEventListener("visibilitychange", this.seen);
    void this.lock?.release();
    this.lock = null;
  }

  private async take(): Promise<void> {
    if (document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      if (this.wanted) this.lock = lock;
      else void lock.release(); // It came after the end.
    } catch {
      // Refused, on a nearly empty battery for example: the screen goes dark as it always does.
    }
  }
}
