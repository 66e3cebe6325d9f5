import type { Texts } from "./texts";

export const de: Texts = {
  title: "Interview",
  loading: "Einen Moment …",
  welcome: {
    heading: "Bereit für Ihr Interview?",
    text: "Sie sprechen mit einer KI als Interviewer. Reden Sie so, wie Sie es am Telefon tun würden.",
    hints: [
      "Am besten geht es an einem ruhigen Ort; Kopfhörer helfen.",
      "Ihr Browser fragt gleich nach dem Mikrofon. Wählen Sie „Zulassen“: Es wird nur für dieses Interview benutzt.",
      "Nehmen Sie sich Zeit zum Nachdenken. Sie können jederzeit gehen.",
    ],
    atMost: (minutes) => `Es dauert höchstens ${minutes} ${minutes === 1 ? "Minute" : "Minuten"}.`,
    start: "Interview beginnen",
  },
  asking: {
    heading: "Bitte erlauben Sie das Mikrofon",
    text: "Ihr Browser fragt gerade danach. Wählen Sie „Zulassen“, damit der Interviewer Sie hören kann.",
  },
  denied: {
    heading: "Ihr Mikrofon ist gesperrt",
    text: "Ohne Mikrofon kann der Interviewer Sie nicht hören. So erlauben Sie es:",
    steps: [
      "Klicken Sie auf das Symbol neben der Adresse dieser Seite (Schloss, Regler oder Mikrofon).",
      "Stellen Sie das Mikrofon auf „Zulassen“. Auf dem Handy muss es eventuell auch in den Systemeinstellungen für den Browser erlaubt sein.",
      "Kehren Sie auf diese Seite zurück und versuchen Sie es noch einmal.",
    ],
  },
  missing: {
    heading: "Wir haben kein Mikrofon gefunden",
    text: "Schließen Sie ein Mikrofon oder Headset an oder schalten Sie es ein, und versuchen Sie es noch einmal.",
  },
  busy: {
    heading: "Ihr Mikrofon wird gerade benutzt",
    text: "Ein anderes Programm scheint es zu benutzen, etwa ein Videoanruf. Schließen Sie es und versuchen Sie es noch einmal.",
  },
  unsupported: {
    heading: "Mit diesem Browser geht das Interview nicht",
    text: "Bitte öffnen Sie den Link in einem aktuellen Chrome, Edge, Firefox oder Safari.",
  },
  joining: { heading: "Wir verbinden Sie", text: "Der Interviewer ist gleich bei Ihnen." },
  talk: {
    waiting: "Der Interviewer kommt gleich",
    listening: "Der Interviewer hört zu",
    hearing: "Sie sprechen",
    thinking: "Der Interviewer überlegt",
    speaking: "Der Interviewer spricht",
  },
  time: "Zeit",
  timeOf: (elapsed, limit) => `${elapsed} von ${limit}`,
  microphone: "Ihr Mikrofon",
  silent: "Von Ihrem Mikrofon ist nichts zu hören. Ist es stummgeschaltet?",
  captions: "Untertitel",
  captionsHint: "Hier erscheint, was der Interviewer sagt.",
  sound: "Ton einschalten",
  reconnecting: "Die Verbindung ist unterbrochen. Wir verbinden Sie wieder …",
  back: "Sie sind wieder verbunden.",
  leave: "Verlassen",
  confirm: {
    heading: "Interview verlassen?",
    text: "Der Interviewer hört auf, wenn Sie gehen. Sie können noch kurze Zeit zurückkommen.",
    stay: "Bleiben",
    leave: "Verlassen",
  },
  left: {
    heading: "Sie haben das Interview verlassen",
    text: "Vielen Dank fürs Mitmachen. War es ein Versehen, können Sie noch kurze Zeit zurück.",
    back: "Zurück zum Interview",
  },
  dropped: {
    heading: "Die Verbindung ist abgebrochen",
    text: "Bitte prüfen Sie Ihre Internetverbindung. Wir versuchen es weiter; sobald es geht, sind Sie wieder dabei.",
  },
  elsewhere: {
    heading: "Das Interview ist in einem anderen Fenster geöffnet",
    text: "Es kann immer nur in einem Fenster laufen.",
    here: "Hier fortsetzen",
  },
  closing: { heading: "Das Interview geht zu Ende", text: "Einen Moment …" },
  thanks: "Vielen Dank fürs Mitmachen",
  outcomes: {
    completed: "Das Interview ist abgeschlossen. Ihre Antworten sind angekommen.",
    time_up: "Die Zeit für dieses Interview ist um. Ihre Antworten bis hierhin sind angekommen.",
    closed: "Die Studie hat dieses Interview vorzeitig beendet. Ihre Antworten bis hierhin sind angekommen.",
    no_show: "Das Interview wurde geschlossen, weil niemand rechtzeitig dazukam. Bitte fragen Sie das Studienteam nach einem neuen Link.",
    left: "Das Interview endete, nachdem Sie es verlassen hatten. Ihre Antworten bis dahin sind angekommen.",
    interrupted: "Ein technisches Problem bei uns hat das Interview beendet. An Ihnen lag es nicht, und Ihre Antworten bis dahin sind angekommen.",
  },
  close: "Sie können dieses Fenster jetzt schließen.",
  badLink: {
    heading: "Dieser Link funktioniert nicht",
    text: "Bitte öffnen Sie ihn genau so, wie Sie ihn bekommen haben, oder fragen Sie das Studienteam nach einem neuen.",
  },
  expired: {
    heading: "Dieser Link ist abgelaufen",
    text: "Bitte fragen Sie das Studienteam nach einem neuen.",
  },
  unreachable: {
    heading: "Das Interview ist nicht erreichbar",
    text: "Bitte prüfen Sie Ihre Internetverbindung und versuchen Sie es noch einmal.",
  },
  again: "Noch einmal versuchen",
};
