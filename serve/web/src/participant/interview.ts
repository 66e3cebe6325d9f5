import {
  DisconnectReason,
  type LocalAudioTrack,
  type RemoteParticipant,
  type RemoteTrack,
  Room,
  RoomEvent,
  Track,
  TrackEvent,
  createLocalAudioTrack,
} from "livekit-client";

/** What the two are doing. `waiting`: no interviewer is there. */
export type Talk = "waiting" | "listening" | "hearing" | "thinking" | "speaking";

/** Why a room was left without the participant wanting it. */
export type Closed = "ended" | "elsewhere" | "lost";

export interface Listener {
  talk(talk: Talk): void;
  reconnecting(now: boolean): void;
  /** The browser plays no sound before somebody clicks, see `startSound`. */
  muted(now: boolean): void;
  /** More of what the interviewer says; another `sentence` is another one. */
  caption(sentence: string, words: string): void;
  closed(why: Closed): void;
}

const CAPTIONS = "lk.transcription";
const AGENT_STATE = "lk.agent.state";
const ENDED: readonly DisconnectReason[] = [
  DisconnectReason.ROOM_DELETED,
  DisconnectReason.ROOM_CLOSED,
  DisconnectReason.PARTICIPANT_REMOVED,
];

/** Rejects with what getUserMedia says. */
export function openMicrophone(): Promise<LocalAudioTrack> {
  return createLocalAudioTrack({
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
  });
}

/** One stay in the interview's room, from `join` until it is left or closed. */
export class Interview {
  private readonly room = new Room();
  private readonly sounds = new Map<RemoteTrack, HTMLMediaElement>();
  private joined = false;
  private left = false;

  constructor(private readonly listener: Listener) {
    const talk = () => listener.talk(this.talk());
    this.room
      .on(RoomEvent.ActiveSpeakersChanged, talk)
      .on(RoomEvent.ParticipantAttributesChanged, talk)
      .on(RoomEvent.ParticipantConnected, talk)
      .on(RoomEvent.ParticipantDisconnected, talk)
      .on(RoomEvent.TrackSubscribed, (track) => this.play(track))
      .on(RoomEvent.TrackUnsubscribed, (track) => this.silence(track))
      .on(RoomEvent.SignalReconnecting, () => listener.reconnecting(true))
      .on(RoomEvent.Reconnecting, () => listener.reconnecting(true))
      .on(RoomEvent.Reconnected, () => listener.reconnecting(false))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => listener.muted(!this.room.canPlaybackAudio))
      .on(RoomEvent.Disconnected, (reason) => this.closed(reason));
    this.room.registerTextStreamHandler(CAPTIONS, (reader, { identity }) => {
      if (identity === this.interviewer()?.identity) void this.read(reader.info.id, reader);
    });
  }

  /** Raises if the room cannot be reached. The microphone is stopped with the stay. */
  async join(url: string, token: string, microphone: LocalAudioTrack): Promise<void> {
    await this.room.connect(url, token);
    this.joined = true;
    await this.room.localParticipant.publishTrack(microphone, { source: Track.Source.Microphone });
    this.listener.talk(this.talk());
    this.listener.muted(!this.room.canPlaybackAudio);
  }

  /** Nothing is told any more. */
  async leave(): Promise<void> {
    this.left = true;
    this.sounds.forEach((element) => element.remove());
    await this.room.disconnect();
  }

  /** To be called from a click. */
  startSound(): Promise<void> {
    return this.room.startAudio();
  }

  private talk(): Talk {
    const interviewer = this.interviewer();
    if (!interviewer) return "waiting";
    const state = interviewer.attributes[AGENT_STATE];
    if (state === "speaking" || interviewer.isSpeaking) return "speaking";
    if (this.room.localParticipant.isSpeaking) return "hearing";
    return state === "thinking" ? "thinking" : "listening";
  }

  private interviewer(): RemoteParticipant | undefined {
    return [...this.room.remoteParticipants.values()].find((one) => one.isAgent);
  }

  private async read(sentence: string, words: AsyncIterable<string>): Promise<void> {
    let said = "";
    try {
      for await (const more of words) this.listener.caption(sentence, (said += more));
    } catch {
      // Cut off with its speaker: what came of it stands.
    }
  }

  private play(track: RemoteTrack): void {
    if (track.kind !== Track.Kind.Audio) return;
    const element = track.attach();
    this.sounds.set(track, element);
    document.body.append(element);
  }

  /** By our own list: the track may have let go of its element by now. */
  private silence(track: RemoteTrack): void {
    track.detach();
    this.sounds.get(track)?.remove();
    this.sounds.delete(track);
  }

  private closed(reason?: DisconnectReason): void {
    // Of one that was never joined `join` tells: the room is closed before that is over.
    if (this.left || !this.joined) return;
    if (reason === DisconnectReason.DUPLICATE_IDENTITY) this.listener.closed("elsewhere");
    else this.listener.closed(reason !== undefined && ENDED.includes(reason) ? "ended" : "lost");
  }
}

/** Calls back with each device that takes the place of the one before. */
export function onDeviceChanged(
  microphone: LocalAudioTrack,
  then: (track: MediaStreamTrack) => void,
): void {
  microphone.on(TrackEvent.Restarted, () => then(microphone.mediaStreamTrack));
}
