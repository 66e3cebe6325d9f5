import type { Texts } from "./texts";

export const fr: Texts = {
  title: "Entretien",
  loading: "Un instant…",
  welcome: {
    heading: "Prêt pour votre entretien ?",
    text: "Vous allez parler avec un intervieweur IA, de vive voix. Parlez comme au téléphone.",
    hints: [
      "Un endroit calme est idéal, et un casque aide.",
      "Votre navigateur va demander l’accès au micro. Choisissez « Autoriser » : il ne sert qu’à cet entretien.",
      "Prenez le temps de réfléchir. Vous pouvez partir quand vous voulez.",
    ],
    atMost: (minutes) => `Il dure ${minutes} ${minutes === 1 ? "minute" : "minutes"} au plus.`,
    start: "Commencer l’entretien",
  },
  asking: {
    heading: "Veuillez autoriser votre micro",
    text: "Votre navigateur le demande en ce moment. Choisissez « Autoriser » pour que l’intervieweur vous entende.",
  },
  denied: {
    heading: "Votre micro est bloqué",
    text: "Sans lui, l’intervieweur ne peut pas vous entendre. Pour l’autoriser :",
    steps: [
      "Cliquez sur le symbole à côté de l’adresse de cette page (un cadenas, un curseur ou un micro).",
      "Réglez le micro sur « Autoriser ». Sur un téléphone, il faut parfois aussi l’autoriser pour le navigateur dans les réglages du système.",
      "Revenez sur cette page et réessayez.",
    ],
  },
  missing: {
    heading: "Aucun micro trouvé",
    text: "Branchez un micro ou un casque, ou allumez-le, puis réessayez.",
  },
  busy: {
    heading: "Votre micro est déjà utilisé",
    text: "Un autre programme semble l’utiliser, un appel vidéo par exemple. Fermez-le, puis réessayez.",
  },
  unsupported: {
    heading: "Ce navigateur ne convient pas pour l’entretien",
    text: "Veuillez ouvrir le lien dans une version récente de Chrome, Edge, Firefox ou Safari.",
  },
  joining: { heading: "Connexion en cours", text: "L’intervieweur sera avec vous dans un instant." },
  talk: {
    waiting: "L’intervieweur arrive",
    listening: "L’intervieweur vous écoute",
    hearing: "Vous parlez",
    thinking: "L’intervieweur réfléchit",
    speaking: "L’intervieweur parle",
  },
  time: "Temps",
  timeOf: (elapsed, limit) => `${elapsed} sur ${limit}`,
  microphone: "Votre micro",
  silent: "Nous n’entendons rien de votre micro. Est-il coupé ?",
  captions: "Sous-titres",
  captionsHint: "Ce que dit l’intervieweur s’affiche ici.",
  sound: "Activer le son",
  reconnecting: "La connexion est interrompue. Nous vous reconnectons…",
  back: "Vous êtes de nouveau connecté.",
  leave: "Quitter",
  confirm: {
    heading: "Quitter l’entretien ?",
    text: "L’intervieweur s’arrête quand vous partez. Vous pouvez revenir pendant un court moment.",
    stay: "Rester",
    leave: "Quitter",
  },
  left: {
    heading: "Vous avez quitté l’entretien",
    text: "Merci de votre participation. Si c’était une erreur, vous pouvez encore revenir pendant un court moment.",
    back: "Revenir à l’entretien",
  },
  dropped: {
    heading: "La connexion est perdue",
    text: "Veuillez vérifier votre connexion Internet. Nous réessayons, et vous serez de retour dès que possible.",
  },
  elsewhere: {
    heading: "L’entretien est ouvert dans une autre fenêtre",
    text: "Il ne peut être que dans une fenêtre à la fois.",
    here: "Continuer ici",
  },
  closing: { heading: "L’entretien se termine", text: "Un instant…" },
  thanks: "Merci de votre participation",
  outcomes: {
    completed: "L’entretien est terminé. Vos réponses ont bien été reçues.",
    time_up: "Le temps prévu pour cet entretien est écoulé. Vos réponses jusqu’ici ont bien été reçues.",
    closed: "L’étude a clos cet entretien plus tôt que prévu. Vos réponses jusqu’ici ont bien été reçues.",
    no_show: "L’entretien a été fermé, car personne ne l’a rejoint à temps. Veuillez demander un nouveau lien à l’équipe de l’étude.",
    left: "L’entretien s’est terminé après votre départ. Vos réponses jusque-là ont bien été reçues.",
    interrupted: "Un problème technique de notre côté a mis fin à l’entretien. Vous n’y êtes pour rien, et vos réponses jusque-là ont bien été reçues.",
  },
  close: "Vous pouvez fermer cette fenêtre.",
  badLink: {
    heading: "Ce lien ne fonctionne pas",
    text: "Veuillez l’ouvrir exactement tel que vous l’avez reçu, ou en demander un nouveau à l’équipe de l’étude.",
  },
  expired: {
    heading: "Ce lien a expiré",
    text: "Veuillez en demander un nouveau à l’équipe de l’étude.",
  },
  unreachable: {
    heading: "L’entretien est injoignable",
    text: "Veuillez vérifier votre connexion Internet et réessayer.",
  },
  again: "Réessayer",
};
