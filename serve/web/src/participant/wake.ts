/** Keeps the screen on while the interview lasts, where the browser can. */
export class WakeLock {
  private lock: WakeLockSentinel | null = null;
  private readonly seen = () => void this.take();

  hold(): void {
    // A page that was hidden has lost it.
    document.addEventListener("visibilitychange", this.seen);
    void this.take();
  }

  release(): void {
    document.removeEventListener("visibilitychange", this.seen);
    void this.lock?.release();
    this.lock = null;
  }

  private async take(): Promise<void> {
    if (document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      this.lock = await navigator.wakeLock.request("screen");
    } catch {
      // Refused, on a nearly empty battery for example: the screen goes dark as it always does.
    }
  }
}
