import "./style.css";

import { find, h } from "../shared/dom";

find("#page").replaceChildren(h("h1", {}, "Interview"));
