import { render } from "preact";
import { App } from "./app";
import { deliver } from "./source";
import "./style.css";

(window as unknown as { theodoliteData: typeof deliver }).theodoliteData = deliver;
const place = document.getElementById("app");
if (place) render(<App />, place);
