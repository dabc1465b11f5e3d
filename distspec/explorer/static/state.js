// Links to a view: what is shown is kept in the part of the address after "#", which is not sent to the server.

const DELAY = 150; // [ms]

export class State {
  // `collect`: returns the current view as [[name, value], …].
  constructor(collect) {
    this.collect = collect;
    this.paused = true; // until the view of the address is shown
    this.missed = false; // a change of the view while paused
    this.written = "";
  }

  read() {
    return new URLSearchParams(location.hash.slice(1));
  }

  write() {
    if (this.paused) {
      this.missed = true;
      return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const view = String(new URLSearchParams(this.collect()));
      this.written = view && `#${view}`;
      if (this.written !== location.hash) history.replaceState(null, "", this.written || location.pathname);
    }, DELAY);
  }

  // Shows the view of the address, now and when the user changes it. `show`: receives the parameters.
  async follow(show) {
    const apply = async () => {
      this.paused = true;
      try {
        await show(this.read());
      } finally {
        this.paused = false;
      }
    };
    addEventListener("hashchange", () => location.hash !== this.written && apply());
    if (location.hash) await apply();
    this.paused = false;
    if (this.missed) this.write();
  }
}
