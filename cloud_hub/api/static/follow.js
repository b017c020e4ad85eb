// An element with an id and data-follow="/address" listens to a stream of its own and is fetched anew with each event of
// the type in data-follow-event. The fresh one says whether there is more to come: without data-follow it is the last.
import { refresh } from "./live.js";

for (const element of document.querySelectorAll("[data-follow]")) follow(element.id, element.dataset.follow, element.dataset.followEvent);

function follow(id, address, type) {
  const source = new EventSource(address);
  let busy = false;
  let again = false;
  const update = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    await refresh(id);
    busy = false;
    if (!document.getElementById(id)?.dataset.follow) source.close();
    else if (again) {
      again = false;
      await update();
    }
  };
  source.addEventListener(type, update);
  source.addEventListener("error", () => setTimeout(update, 1000)); // the stream ends with what it tells of
  addEventListener("pagehide", () => source.close());
}
