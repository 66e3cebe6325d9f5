import type { Texts } from "./texts";

export const es: Texts = {
  title: "Entrevista",
  loading: "Un momento…",
  welcome: {
    heading: "¿Preparado para su entrevista?",
    text: "Hablará de viva voz con un entrevistador de IA. Hable como lo haría por teléfono.",
    hints: [
      "Lo mejor es un lugar tranquilo, y unos auriculares ayudan.",
      "Su navegador le pedirá permiso para usar el micrófono. Elija «Permitir»: solo se usa para esta entrevista.",
      "Tómese tiempo para pensar. Puede irse cuando quiera.",
    ],
    atMost: (minutes) => `Dura ${minutes} ${minutes === 1 ? "minuto" : "minutos"} como máximo.`,
    start: "Empezar la entrevista",
  },
  asking: {
    heading: "Permita el uso del micrófono",
    text: "Su navegador se lo está pidiendo ahora. Elija «Permitir» para que el entrevistador pueda oírle.",
  },
  denied: {
    heading: "Su micrófono está bloqueado",
    text: "Sin él, el entrevistador no puede oírle. Para permitirlo:",
    steps: [
      "Pulse el símbolo junto a la dirección de esta página (un candado, un control deslizante o un micrófono).",
      "Ponga el micrófono en «Permitir». En un teléfono, quizá también deba permitirlo para el navegador en los ajustes del sistema.",
      "Vuelva a esta página e inténtelo de nuevo.",
    ],
  },
  missing: {
    heading: "No hemos encontrado ningún micrófono",
    text: "Conecte o encienda un micrófono o unos auriculares con micrófono e inténtelo de nuevo.",
  },
  busy: {
    heading: "Su micrófono está en uso",
    text: "Parece que otro programa lo está usando, por ejemplo una videollamada. Ciérrelo e inténtelo de nuevo.",
  },
  unsupported: {
    heading: "Este navegador no sirve para la entrevista",
    text: "Abra el enlace en una versión actual de Chrome, Edge, Firefox o Safari.",
  },
  joining: { heading: "Conectando", text: "El entrevistador estará con usted en un momento." },
  talk: {
    waiting: "El entrevistador está en camino",
    listening: "El entrevistador escucha",
    hearing: "Usted está hablando",
    thinking: "El entrevistador está pensando",
    speaking: "El entrevistador está hablando",
  },
  time: "Tiempo",
  timeOf: (elapsed, limit) => `${elapsed} de ${limit}`,
  microphone: "Su micrófono",
  silent: "No se oye nada de su micrófono. ¿Está silenciado?",
  captions: "Subtítulos",
  captionsHint: "Aquí aparece lo que dice el entrevistador.",
  sound: "Activar el sonido",
  reconnecting: "Se ha interrumpido la conexión. Le estamos reconectando…",
  back: "Vuelve a estar conectado.",
  leave: "Salir",
  confirm: {
    heading: "¿Salir de la entrevista?",
    text: "El entrevistador se detiene cuando usted sale. Podrá volver durante un rato.",
    stay: "Quedarme",
    leave: "Salir",
  },
  left: {
    heading: "Ha salido de la entrevista",
    text: "Gracias por participar. Si fue un error, todavía puede volver durante un rato.",
    back: "Volver a la entrevista",
  },
  dropped: {
    heading: "Se ha perdido la conexión",
    text: "Compruebe su conexión a Internet. Seguimos intentándolo y volverá en cuanto sea posible.",
  },
  elsewhere: {
    heading: "La entrevista está abierta en otra ventana",
    text: "Solo puede estar en una ventana a la vez.",
    here: "Continuar aquí",
  },
  closing: { heading: "La entrevista está terminando", text: "Un momento…" },
  thanks: "Gracias por participar",
  outcomes: {
    completed: "La entrevista ha terminado. Hemos recibido sus respuestas.",
    time_up: "Se ha acabado el tiempo de esta entrevista. Hemos recibido sus respuestas hasta aquí.",
    closed: "El estudio ha cerrado esta entrevista antes de tiempo. Hemos recibido sus respuestas hasta aquí.",
    no_show: "La entrevista se cerró porque nadie se unió a tiempo. Pida un enlace nuevo al equipo del estudio.",
    left: "La entrevista terminó después de que usted saliera. Hemos recibido sus respuestas hasta entonces.",
    interrupted: "Un problema técnico nuestro puso fin a la entrevista. No fue culpa suya, y hemos recibido sus respuestas hasta entonces.",
  },
  close: "Ya puede cerrar esta ventana.",
  badLink: {
    heading: "Este enlace no funciona",
    text: "Ábralo exactamente como lo recibió o pida uno nuevo al equipo del estudio.",
  },
  expired: {
    heading: "Este enlace ha caducado",
    text: "Pida uno nuevo al equipo del estudio.",
  },
  unreachable: {
    heading: "No podemos acceder a la entrevista",
    text: "Compruebe su conexión a Internet e inténtelo de nuevo.",
  },
  again: "Intentarlo de nuevo",
};
