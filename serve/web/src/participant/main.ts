import "./style.css";

import { Link } from "./link";
import { Visit } from "./visit";

void new Visit(new Link(window.location)).open();
// Another link pasted into the same window is another visit.
window.addEventListener("hashchange", () => window.location.reload());
