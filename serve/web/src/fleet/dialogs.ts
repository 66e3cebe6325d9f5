import { type Child, h } from "../shared/dom";
import type { Problem } from "./api";
import { setText } from "./parts";

export interface Question {
  title: string;
  body: Child[];
  confirm: string;
  dangerous?: boolean;
  /** Throws Problem: then the dialog stays and says why. */
  act(): Promise<void>;
}

/** Asks before something is done that cannot be taken back. Escape and "Cancel" do nothing. */
export function ask(question: Question): void {
  const problem = h("p", { class: "problem", role: "alert" });
  const confirm = h("button", { class: question.dangerous ? "danger" : "primary" }, question.confirm);
  const cancel = h("button", { type: "button", class: "quiet" }, "Cancel");
  const form = h(
    "form",
    {},
    h("h2", { id: "dialog-title" }, question.title),
    ...question.body,
    problem,
    h("div", { class: "buttons" }, cancel, confirm),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    confirm.disabled = true;
    try {
      await question.act();
      dialog.close();
    } catch (error) {
      setText(problem, (error as Problem).message);
      confirm.disabled = false;
      confirm.focus();
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  (form.querySelector<HTMLElement>("input") ?? cancel).focus();
}
