// Times: the server writes UTC into <time datetime data-local="...">, this writes them in the viewer's zone and language.

const FORMATS = {
  datetime: { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  minute: { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  date: { year: "numeric", month: "short", day: "numeric" },
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  // Ticks of charts.
  "tick-time": { hour: "2-digit", minute: "2-digit" },
  "tick-date": { month: "short", day: "numeric" },
  "tick-month": { month: "short", year: "numeric" },
  "tick-second": { hour: "2-digit", minute: "2-digit", second: "2-digit" },
};
const AGO_EVERY_MS = 15_000;
const formatters = new Map();

function formatter(how) {
  if (!formatters.has(how)) formatters.set(how, new Intl.DateTimeFormat(undefined, FORMATS[how] ?? FORMATS.datetime));
  return formatters.get(how);
}

/** How long ago, as the server says it: see words.ago. */
export function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 120) return `${Math.floor(seconds)} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

/** Write every time under `root` for the viewer. SVG texts carry the time in data-utc. */
export function localise(root) {
  for (const element of root.querySelectorAll("time[data-local], text[data-utc]")) {
    const how = element.dataset.local;
    let when = new Date(element.dataset.utc ?? element.getAttribute("datetime"));
    if (Number.isNaN(when.getTime())) continue;
    if (how === "tick-date" && element.dataset.utc) when = moveToMidnight(element, when);
    const whole = `${formatter("datetime").format(when)} ${zone(when)}`;
    if (how === "ago") element.title = whole;
    else {
      element.textContent = formatter(element.dataset.utc ? tickKind(how, when) : how).format(when);
      if (!element.dataset.utc) element.title = `${whole} · ${when.toISOString().slice(0, 19)}Z`;
    }
  }
  for (const element of root.querySelectorAll("[data-zone]")) {
    element.textContent = zone(element.dataset.zone ? new Date(element.dataset.zone) : new Date());
  }
}

/** Ticks stand at round UTC times: what is midnight there need not be it here. */
function tickKind(how, when) {
  const midnight = when.getHours() === 0 && when.getMinutes() === 0;
  if (how === "tick-midnight") return midnight ? "tick-date" : "tick-time";
  if (how === "tick-time" && midnight) return "tick-date";
  return how;
}

/** A date on an axis stands where the day begins for the viewer: its tick moves there from midnight UTC. */
function moveToMidnight(text, utc) {
  const when = new Date(utc.getTime() + 43_200_000);
  when.setHours(0, 0, 0, 0);
  const { fromS, toS } = text.closest("svg.plot").dataset;
  const at = (when.getTime() / 1000 - Number(fromS)) / (Number(toS) - Number(fromS));
  text.parentElement.toggleAttribute("hidden", at < 0 || at > 1);
  const place = `${(100 * at).toFixed(2)}%`;
  text.setAttribute("x", place);
  for (const line of text.parentElement.querySelectorAll("line")) {
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
  }
  return when;
}

function zone(when) {
  const parts = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(when);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}

/** "5 min ago" grows old by itself. */
export function keepAgoTrue() {
  const skew = serverSkewMs();
  const write = () => {
    for (const element of document.querySelectorAll('time[data-local="ago"]')) {
      element.textContent = ago((Date.now() - skew - new Date(element.getAttribute("datetime")).getTime()) / 1000);
    }
  };
  setInterval(write, AGO_EVERY_MS);
}

/** How far this clock is ahead of the hub's: its own time stands at the foot of the page. */
function serverSkewMs() {
  const now = document.querySelector(".foot time");
  return now ? Date.now() - new Date(now.getAttribute("datetime")).getTime() : 0;
}
