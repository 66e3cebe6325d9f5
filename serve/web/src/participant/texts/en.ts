import type { Texts } from "./texts";

export const en: Texts = {
  title: "Interview",
  loading: "One moment…",
  welcome: {
    heading: "Ready for your interview?",
    text: "You will talk with an AI interviewer, by voice. Speak as you would on the phone.",
    hints: [
      "A quiet place is best, and headphones help.",
      "Your browser will ask for your microphone. Choose “Allow”: it is used for this interview only.",
      "Take your time to think. You can leave whenever you like.",
    ],
    atMost: (minutes) => `It takes ${minutes} ${minutes === 1 ? "minute" : "minutes"} at most.`,
    start: "Start the interview",
  },
  asking: {
    heading: "Please allow your microphone",
    text: "Your browser is asking for it now. Choose “Allow”, so that the interviewer can hear you.",
  },
  denied: {
    heading: "Your microphone is blocked",
    text: "Without it the interviewer cannot hear you. To allow it:",
    steps: [
      "Click the symbol beside this page’s address (a lock, a slider or a microphone).",
      "Set the microphone to “Allow”. On a phone, it may also have to be allowed for the browser in the system’s settings.",
      "Come back to this page and try again.",
    ],
  },
  missing: {
    heading: "We found no microphone",
    text: "Connect a microphone or a headset, or switch it on, and try again.",
  },
  busy: {
    heading: "Your microphone is in use",
    text: "Another program seems to be using it. Close it, a video call for example, and try again.",
  },
  unsupported: {
    heading: "This browser does not work for the interview",
    text: "Please open the link in an up-to-date Chrome, Edge, Firefox or Safari.",
  },
  joining: { heading: "Connecting you", text: "The interviewer will be with you in a moment." },
  talk: {
    waiting: "The interviewer is on the way",
    listening: "The interviewer is listening",
    hearing: "You are speaking",
    thinking: "The interviewer is thinking",
    speaking: "The interviewer is speaking",
  },
  time: "Time",
  timeOf: (elapsed, limit) => `${elapsed} of ${limit}`,
  microphone: "Your microphone",
  silent: "We hear nothing from your microphone. Is it muted?",
  captions: "Captions",
  captionsHint: "What the interviewer says appears here.",
  sound: "Turn on the sound",
  reconnecting: "The connection was interrupted. We are reconnecting you…",
  back: "You are connected again.",
  leave: "Leave",
  confirm: {
    heading: "Leave the interview?",
    text: "The interviewer stops when you leave. You can come back for a short while.",
    stay: "Stay",
    leave: "Leave",
  },
  left: {
    heading: "You have left the interview",
    text: "Thank you for taking part. If it was a mistake, you can go back for a short while.",
    back: "Go back to the interview",
  },
  dropped: {
    heading: "The connection was lost",
    text: "Please check your internet connection. We keep trying, and you will be back as soon as it works.",
  },
  elsewhere: {
    heading: "The interview is open in another window",
    text: "It can only be in one window at a time.",
    here: "Continue here",
  },
  closing: { heading: "The interview is ending", text: "One moment…" },
  thanks: "Thank you for taking part",
  outcomes: {
    completed: "The interview is complete. Your answers have been received.",
    time_up: "The time for this interview is up. Your answers so far have been received.",
    closed: "The study has closed this interview early. Your answers so far have been received.",
    no_show: "The interview was closed because nobody joined in time. Please ask the study team for a new link.",
    left: "The interview ended after you left it. Your answers until then have been received.",
    interrupted: "A technical problem on our side ended the interview. It was nothing you did, and your answers until then have been received.",
  },
  close: "You can close this window now.",
  badLink: {
    heading: "This link does not work",
    text: "Please open it exactly as you received it, or ask the study team for a new one.",
  },
  expired: {
    heading: "This link has expired",
    text: "Please ask the study team for a new one.",
  },
  unreachable: {
    heading: "We cannot reach the interview",
    text: "Please check your internet connection and try again.",
  },
  again: "Try again",
};
