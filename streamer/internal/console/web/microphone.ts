// The microphone of this machine: opening it, naming it, and what to say when it cannot be had.
import { Trouble } from "./api";
import { t } from "./texts";

/** Wish is what the official has set. */
export interface Wish {
  device: string; // empty: the machine's default
  denoise: boolean;
}

/** usable throws Trouble where no microphone can be asked for at all. */
export function usable(): void {
  if (!window.isSecureContext || !navigator.mediaDevices) throw new Trouble(t("trouble.insecure"), "microphone");
  if (typeof RTCPeerConnection === "undefined") throw new Trouble(t("trouble.no_webrtc"), "microphone");
}

/**
 * open asks for the microphone. Browsers' processing is off unless wished for: it is made for calls, and takes music
 * and tones for noise. A device that is gone gives way to another one: what is heard counts, and the meter shows it.
 */
export async function open(wish: Wish): Promise<MediaStream> {
  usable();
  const ask = (device?: ConstrainDOMString) =>
    navigator.mediaDevices.getUserMedia({
      audio: {
        deviceId: device,
        channelCount: { ideal: 1 },
        echoCancellation: false,
        autoGainControl: false,
        noiseSuppression: wish.denoise,
      },
    });
  try {
    if (!wish.device) return await ask();
    return await ask({ exact: wish.device }).catch((e: unknown) => {
      if (reason(e) !== "trouble.no_mic") throw e;
      return ask();
    });
  } catch (e) {
    throw new Trouble(t(reason(e)), "microphone");
  }
}

function reason(e: unknown): string {
  switch (e instanceof DOMException || e instanceof Error ? e.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "trouble.denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "trouble.no_mic";
    case "NotReadableError":
      return "trouble.mic_busy";
  }
  return "trouble.mic";
}

/** allowed tells whether the browser will hand the microphone out without asking the official. */
export async function allowed(): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: "microphone" as PermissionName })).state === "granted";
  } catch {
    return false; // a browser that does not know this question
  }
}

/** close lets go of a microphone; the browser's sign for it goes out. */
export function close(stream: MediaStream | null): void {
  stream?.getTracks().forEach((track) => track.stop());
}

/** fillDevices lists the microphones in a select; browsers name them only once one was allowed. */
export async function fillDevices(select: HTMLSelectElement, wanted: string): Promise<void> {
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const options = [new Option(t("mic.default"), "")];
  devices
    .filter((d) => d.kind === "audioinput" && d.deviceId !== "" && d.deviceId !== "default" && d.deviceId !== "communications")
    .forEach((d, i) => options.push(new Option(d.label || t("mic.unnamed", i + 1), d.deviceId)));
  select.replaceChildren(...options);
  select.value = wanted;
  if (select.selectedIndex < 0) select.value = "";
}

/**
 * watch tells a stream's loudness, dBFS of the last 50 ms, twenty times a second, until the function that it returns is
 * called. Samples cut off at full scale make it 0, however short they are.
 */
export function watch(stream: MediaStream, tell: (db: number, at: number) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 2048;
  const source = context.createMediaStreamSource(stream);
  source.connect(analyser); // and no further: nobody wants to hear oneself
  void context.resume();
  const samples = new Float32Array(analyser.fftSize);
  const timer = window.setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    let cut = 0;
    for (const x of samples) {
      sum += x * x;
      if (Math.abs(x) > 0.99) cut++;
    }
    tell(cut > 4 ? 0 : 10 * Math.log10(Math.max(sum / samples.length, 1e-10)), performance.now());
  }, 50);
  return () => {
    window.clearInterval(timer);
    source.disconnect();
    void context.close();
  };
}
