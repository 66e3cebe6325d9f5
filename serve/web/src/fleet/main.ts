import "./style.css";

import { h } from "../shared/dom";

document.querySelector("main")?.replaceChildren(h("h1", {}, "Interview Fleet"));
