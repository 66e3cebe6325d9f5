import { h } from "../shared/dom";
import { type Api, Problem } from "./api";
import { setText } from "./parts";

/** Asks for the API key until the API takes it. */
export function signIn(api: Api, done: () => void): HTMLElement {
  const key = h("input", {
    id: "key",
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-hint key-problem",
  });
  const problem = h("p", { id: "key-problem", class: "problem", role: "alert" });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h(
    "form",
    { class: "card sign-in" },
    h("h1", { tabindex: -1 }, "Interview Fleet"),
    h("p", { class: "soft" }, "Live interviews, their cost and their transcripts."),
    h("label", { for: "key" }, "API key"),
    key,
    h("p", { id: "key-hint", class: "hint" }, "It stays in this tab and is forgotten when you close it."),
    problem,
    button,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    setText(problem, "");
    api.key = key.value.trim();
    const refusal = await refusalOf(api);
    button.disabled = false;
    if (!refusal) {
      done();
      return;
    }
    api.key = "";
    setText(problem, refusal);
    key.setAttribute("aria-invalid", "true");
    key.select();
  });
  queueMicrotask(() => key.focus());
  return h("div", { class: "centred" }, form);
}

/** Whether the API lets us in as we are; its reason if not. */
export async function refusalOf(api: Api): Promise<string | null> {
  try {
    await api.request("GET", "v1/contract/schema");
    return null;
  } catch (error) {
    if (!(error instanceof Problem)) return "The API cannot be reached. Try again.";
    return error.status === 401 ? "This key is not valid." : error.message;
  }
}
