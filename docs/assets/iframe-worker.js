// The search runs in a worker, and a page that was opened from a folder may not start one. There, this Worker runs its script
// in a hidden frame of the page instead. Elsewhere the browser's own stays.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = Object.assign(document.createElement("iframe"), {hidden: true, title: "Search", srcdoc: "<!doctype html>"});
      this.ready = new Promise((resolve, reject) => {
        this.frame.addEventListener("load", () => {
          const inside = this.frame.contentWindow;
          const load = (source) => new Promise((done, failed) => {
            const script = inside.document.createElement("script");
            inside.document.body.append(Object.assign(script, {src: source, onload: done, onerror: failed}));
          });
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", {data}));
          inside.importScripts = async (...sources) => {
            for (const source of sources) await load(source);
          };
          load(url).then(() => resolve(inside), reject);
        }, {once: true});
      });
      this.ready.catch((error) => this.dispatchEvent(new ErrorEvent("error", {error})));
      document.body.append(this.frame);
    }

    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new MessageEvent("message", {data})));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
