// What every page needs of a script: times in the viewer's zone, live parts, the theme without a round trip. Pages work
// without it.
import { localise, keepAgoTrue } from "./times.js";
import { followStream } from "./live.js";
import { switchThemeHere } from "./theme.js";
import { closeMenusOutside } from "./menus.js";

localise(document);
keepAgoTrue();
switchThemeHere();
closeMenusOutside();
const stream = document.querySelector('meta[name="millwright-stream"]');
if (stream) followStream(stream.content);
